"""What each call costs in requests, and what it says when the answer is lost, cut off, damaged or no answer."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import BinaryIO, cast

import pytest
from tests.unit.cloud.small_s3 import LOST, Asked, SmallS3, answer, refusal, tag

from holdfast.blobs import BlobStat, ByteRange, BytesBody, GetOptions, PutOptions, StreamBody
from holdfast.drivers.cloud import MARK_NAME, CloudDriver, CloudSettings
from holdfast.drivers.cloud.bulk import needs_proxy
from holdfast.errors import (
    AlreadyExists,
    Denied,
    InvalidKey,
    NoSpace,
    NotFound,
    OutcomeUnknown,
    PreconditionFailed,
    StoreError,
    Unauthenticated,
    Unavailable,
    Unsupported,
)
from holdfast.keys import Key
from holdfast.seams import SystemClock
from holdfast.testing.store_kit import Dribble, checksum_of, content_of, every_method, read, rest_of

MIB = 1024 * 1024
KEY = Key("000/dataset_24.dat")
LARGE = content_of(12 * MIB + 5)
LARGE_START = 100


# -- how many ---------------------------------------------------------------------------------------------------------


def test_a_small_put_and_a_cold_read_are_one_request_each(server: SmallS3, driver: CloudDriver):
    content = content_of(100 * 1024)
    driver.put(KEY, BytesBody(content))
    assert server.lines == [f"PUT {KEY}"]
    assert read(driver, KEY) == content
    assert server.lines == [f"PUT {KEY}", f"GET {KEY}"]
    assert server.asked[0].body == content


def test_also_a_thousand_from_many_threads_after_one_look_at_the_mark(server: SmallS3, driver: CloudDriver):
    server.objects[MARK_NAME] = b"0a-mark\n"
    driver.expect("0a-mark")
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: driver.put(Key(f"000/{number}"), BytesBody(b"x")), range(100)))
        list(pool.map(lambda number: read(driver, Key(f"000/{number}")), range(100)))
    assert server.lines.count(f"GET {MARK_NAME}") == 1
    assert len(server.lines) == 201


def test_if_absent_costs_one_request_once_it_is_known_that_it_is_obeyed(server: SmallS3, driver: CloudDriver):
    driver.mark("0a-mark")
    server.asked.clear()
    for number in range(3):
        driver.put(Key(f"000/{number}"), BytesBody(b"x"), PutOptions(if_absent=True))
    assert server.lines == [f"GET {MARK_NAME}", f"PUT {MARK_NAME}", "PUT 000/0", "PUT 000/1", "PUT 000/2"]
    with pytest.raises(AlreadyExists):
        driver.put(Key("000/0"), BytesBody(b"y"), PutOptions(if_absent=True))
    assert server.objects["000/0"] == b"x"
    assert not driver.findings()


def test_where_it_is_not_obeyed_it_is_asked_first(server: SmallS3, driver: CloudDriver):
    server.obeys_conditions = False
    driver.mark("0a-mark")
    server.asked.clear()
    driver.put(KEY, BytesBody(b"x"), PutOptions(if_absent=True))
    assert server.lines == [f"GET {MARK_NAME}", f"PUT {MARK_NAME}", f"HEAD {KEY}", f"PUT {KEY}"]
    with pytest.raises(AlreadyExists):
        driver.put(KEY, BytesBody(b"y"), PutOptions(if_absent=True))
    assert server.objects == {KEY: b"x", MARK_NAME: b"0a-mark\n"}
    assert "ignores conditions" in driver.findings()[0]


def test_a_server_that_does_not_know_conditions_at_all(server: SmallS3, driver: CloudDriver):
    server.before = lambda asked: refusal(501, "NotImplemented") if "if-none-match" in asked.headers else None
    driver.mark("0a-mark")
    driver.put(KEY, BytesBody(b"x"), PutOptions(if_absent=True))
    with pytest.raises(AlreadyExists):
        driver.put(KEY, BytesBody(b"y"), PutOptions(if_absent=True))
    fresh = CloudDriver("pool", driver.settings)
    fresh.put(Key("000/other"), BytesBody(b"y"), PutOptions(if_absent=True))
    fresh.close()
    assert server.objects["000/other"] == b"y"


def test_absence_costs_one_look_at_the_mark_each_time(server: SmallS3, driver: CloudDriver):
    server.objects[MARK_NAME] = b"0a-mark\n"
    driver.expect("0a-mark")
    for _ in range(2):
        with pytest.raises(NotFound):
            driver.stat(KEY)
    assert server.lines == [f"GET {MARK_NAME}", f"HEAD {KEY}", f"GET {MARK_NAME}", f"HEAD {KEY}", f"GET {MARK_NAME}"]
    server.objects[MARK_NAME] = b"0b-other\n"
    with pytest.raises(Unavailable, match="0b-other"):
        driver.stat(KEY)
    with pytest.raises(Unavailable, match="0b-other"):
        driver.usage()


def test_building_and_expecting_ask_nothing(server: SmallS3, driver: CloudDriver):
    driver.expect("0a-mark")
    assert driver.usage().free_bytes is None
    driver.sync([])
    driver.sign_url(KEY, "GET", 60, filename="x")
    assert driver.capabilities.remote
    driver.close()
    assert server.asked == []


def test_the_first_mebibyte_of_a_large_blob_moves_little(server: SmallS3, driver: CloudDriver):
    server.objects[KEY] = content_of(40 * MIB)
    with driver.open(KEY) as reader:
        assert len(reader.read(MIB)) == MIB
    with driver.open(KEY, GetOptions(range=ByteRange(20 * MIB, 20 * MIB + 100))) as reader:
        assert rest_of(reader) == server.objects[KEY][20 * MIB : 20 * MIB + 100]
    assert [asked.headers["range"] for asked in server.asked] == ["bytes=0-4194303", "bytes=20971520-20971619"]


def test_a_large_put_is_its_parts_and_three_more(server: SmallS3, driver: CloudDriver):
    driver.put(KEY, BytesBody(LARGE))
    assert server.objects[KEY] == LARGE
    assert sorted(server.lines) == sorted(
        [f"POST {KEY} ?uploads", *[f"PUT {KEY} ?partNumber&uploadId"] * 3, f"POST {KEY} ?uploadId", f"HEAD {KEY}"]
    )


def test_a_large_read_asks_each_byte_once_and_for_one_version(server: SmallS3, driver: CloudDriver):
    server.objects[KEY] = content_of(30 * MIB)
    assert read(driver, KEY) == server.objects[KEY]
    spans = sorted(tuple(map(int, asked.headers["range"][6:].split("-"))) for asked in server.asked)
    assert spans[0][0] == 0
    assert all(one[1] + 1 == two[0] for one, two in itertools.pairwise(spans))
    assert {asked.headers.get("if-match") for asked in server.asked[1:]} == {tag(server.objects[KEY])}


def test_an_empty_blob(server: SmallS3, driver: CloudDriver):
    driver.put(KEY, BytesBody(b""))
    assert read(driver, KEY) == b""
    assert server.lines == [f"PUT {KEY}", f"GET {KEY}", f"HEAD {KEY}"]


def test_storage_classes_and_checksums_are_sent(server: SmallS3, driver_of: Callable[..., CloudDriver]):
    driver = driver_of(storage_class="REDUCED_REDUNDANCY", checksum="sha256")
    for content in (b"small", LARGE):
        driver.put(KEY, BytesBody(content))
    begun = [asked for asked in server.asked if asked.line in (f"PUT {KEY}", f"POST {KEY} ?uploads")]
    assert [asked.headers["x-amz-storage-class"] for asked in begun] == ["REDUCED_REDUNDANCY"] * 2
    sent = [asked for asked in server.asked if asked.method == "PUT"]
    assert all(asked.headers["x-amz-checksum-sha256"] for asked in sent)


@pytest.mark.parametrize(("signing", "signed"), [("auto", False), ("never", False), ("always", True)])
def test_whether_the_bytes_are_signed(
    server: SmallS3, driver_of: Callable[..., CloudDriver], signing: str, signed: bool
):
    driver_of(signing=signing).put(KEY, BytesBody(b"x"))
    assert (server.asked[0].headers["x-amz-content-sha256"] != "UNSIGNED-PAYLOAD") is signed


# -- a write whose answer is lost -------------------------------------------------------------------------------------


def lost(method: str, *words: str) -> Callable[[Asked], bytes | None]:
    """The answer to these requests is not sent."""
    return lambda asked: LOST if asked.method == method and all(word in asked.query for word in words) else None


def test_a_put_that_landed_all_the_same_is_done(server: SmallS3, driver: CloudDriver):
    server.after = lost("PUT")
    stat = driver.put(KEY, BytesBody(b"content"))
    assert (stat.checksum, stat.size_bytes) == (checksum_of(b"content"), 7)
    assert server.lines == [f"PUT {KEY}", f"HEAD {KEY}"]


def test_a_put_that_did_not_land_can_be_repeated(server: SmallS3, driver: CloudDriver):
    for there in (None, b"old", b"CONTENT"):
        server.objects.clear()
        if there is not None:
            server.objects[KEY] = there
        server.before = lost("PUT")
        with pytest.raises(Unavailable, match="not stored") as caught:
            driver.put(KEY, BytesBody(b"content"))
        assert caught.value.retryable
        assert server.objects.get(KEY) == there


def test_what_cannot_be_looked_at_is_not_known(server: SmallS3, driver: CloudDriver):
    server.after = lambda asked: LOST if asked.method in ("PUT", "HEAD") else None
    with pytest.raises(OutcomeUnknown) as caught:
        driver.put(KEY, BytesBody(b"content"))
    assert not caught.value.retryable


def test_where_etags_are_no_md5_the_bytes_are_read(server: SmallS3, driver: CloudDriver):
    def other_tags(asked: Asked) -> bytes | None:
        if asked.method == "PUT":
            return LOST
        if asked.method == "HEAD":
            size = str(len(server.objects[KEY]))
            return answer(200, b"", Content_Length=size, ETag='"0x8DE"', Last_Modified="Sun, 22 Nov 2026 18:00:00 GMT")
        return answer(200, server.objects[KEY], ETag='"0x8DE"', Last_Modified="Sun, 22 Nov 2026 18:00:00 GMT")

    server.after = other_tags
    server.before = lambda asked: other_tags(asked) if asked.method == "GET" else None
    assert driver.put(KEY, BytesBody(b"content")).version == "0x8DE"
    assert server.lines == [f"PUT {KEY}", f"HEAD {KEY}", f"GET {KEY}"]
    server.before = lambda asked: {"PUT": LOST, "HEAD": None}.get(asked.method, other_tags(asked))
    with pytest.raises(Unavailable, match="not stored"):
        driver.put(KEY, BytesBody(b"CONTENT"))


def test_a_large_put_whose_last_answer_is_lost(server: SmallS3, driver: CloudDriver):
    server.after = lost("POST", "uploadId")
    assert driver.put(KEY, BytesBody(LARGE)).checksum == checksum_of(LARGE)
    server.objects.clear()
    server.after, server.before = raiser_of_nothing, lost("POST", "uploadId")
    with pytest.raises(Unavailable, match="not stored"):
        driver.put(KEY, BytesBody(LARGE))


def raiser_of_nothing(asked: Asked) -> None:
    return None


@pytest.mark.parametrize("status", [500, 502, 504])
def test_a_gateways_failure_is_a_lost_answer(server: SmallS3, driver: CloudDriver, status: int):
    server.after = lambda asked: refusal(status, "InternalError") if asked.method == "PUT" else None
    assert driver.put(KEY, BytesBody(b"content")).size_bytes == 7


# -- damage -----------------------------------------------------------------------------------------------------------


def test_bytes_that_changed_on_the_way_are_noticed(server: SmallS3, driver: CloudDriver):
    def damage(asked: Asked) -> bytes | None:
        if asked.method != "PUT":
            return None
        server.objects[asked.key] = b"CONTENT"
        return answer(200, ETag=tag(b"CONTENT"))

    server.before = damage
    for options, left in ((PutOptions(), {KEY: b"CONTENT"}), (PutOptions(if_absent=True), {})):
        server.objects.clear()
        with pytest.raises(Unavailable, match="damaged") as caught:
            driver.put(KEY, BytesBody(b"content"), options)
        assert caught.value.retryable
        assert server.objects == left


def test_md5_like_tags_that_are_none_are_believed_after_one_look(server: SmallS3, driver: CloudDriver):
    """As with encryption by a key of the customer's: the ETag has the shape of an MD5 and is another thing."""
    server.after = lambda asked: answer(200, ETag=f'"{"0" * 32}"') if asked.method == "PUT" else None
    server.before = lambda asked: (
        answer(200, server.objects[KEY], ETag=f'"{"0" * 32}"') if asked.method == "GET" else None
    )
    for _ in range(3):
        driver.put(KEY, BytesBody(b"content"))
    assert server.lines == [f"PUT {KEY}", f"GET {KEY}", f"PUT {KEY}", f"PUT {KEY}"]


def test_an_upload_that_lost_a_part_is_noticed(server: SmallS3, driver: CloudDriver):
    def forget(asked: Asked) -> None:
        if asked.method == "POST" and "uploadId" in asked.query:
            server.objects[asked.key] = LARGE[:-1]

    server.after = forget
    with pytest.raises(Unavailable, match="damaged"):
        driver.put(KEY, BytesBody(LARGE), PutOptions(if_absent=True))
    assert server.objects == {}


def test_a_body_and_a_callback_may_use_the_same_bucket(server: SmallS3, driver: CloudDriver):
    """obstore cannot be asked from inside its own upload: there it stops the process."""
    server.objects[KEY] = LARGE
    target, stats, occupied = Key("000/copy"), list[BlobStat](), list[bool]()
    with driver.open(KEY) as reader:
        reader.seek(LARGE_START)
        body = StreamBody(cast("BinaryIO", reader.stream))
        driver.put(
            target, body,
            PutOptions(if_absent=True, on_staged=lambda _: stats.append(driver.stat(KEY)),
                       on_progress=lambda _: occupied.append(driver.occupied(target))),
        )  # fmt: skip
    assert server.objects[target] == LARGE[LARGE_START:]
    assert [stat.size_bytes for stat in stats] == [len(LARGE)]
    assert len(occupied) > 4
    assert not any(occupied)


@pytest.mark.parametrize("number", [1, 2, 3])
def test_an_upload_of_which_a_part_fails_is_given_up(server: SmallS3, driver: CloudDriver, number: int):
    server.objects[KEY] = b"old"
    server.before = lambda asked: (
        refusal(500, "InternalError") if asked.query.get("partNumber") == str(number) else None
    )
    with pytest.raises((Unavailable, OutcomeUnknown)):
        driver.put(KEY, BytesBody(LARGE))
    assert server.objects == {KEY: b"old"}
    assert server.uploads == {}, "aborted"


class Waits(SystemClock):
    """Waits for nothing, and remembers how long it should have."""

    def __init__(self) -> None:
        self.waited_s: list[float] = []

    def sleep(self, seconds: float) -> None:
        self.waited_s.append(seconds)


def waiting_driver(server: SmallS3) -> tuple[CloudDriver, Waits]:
    clock = Waits()
    settings = CloudSettings(
        "s3", "b", endpoint=server.url, region="us-east-1", access_key="k", secret_key="s",
        part_bytes=5 * MIB, multipart_from_bytes=5 * MIB, read_timeout_s=1.0,
    )  # fmt: skip
    return CloudDriver("pool", settings, clock=clock), clock


@pytest.mark.parametrize(
    ("said", "waits_s"),
    [
        (refusal(503, "SlowDown", Retry_After="3"), [3.0, 3.0]),
        (refusal(500, "InternalError"), [0.15, 0.3]),
        (refusal(400, "BadDigest"), [0.15, 0.3]),
        (LOST, [0.15, 0.3]),
    ],
)
def test_a_part_that_fails_is_sent_again_alone(server: SmallS3, said: bytes, waits_s: list[float]):
    driver, clock = waiting_driver(server)
    left = [2]

    def before(asked: Asked) -> bytes | None:
        if asked.query.get("partNumber") != "2" or not left[0]:
            return None
        left[0] -= 1
        return said

    server.before = before
    driver.put(KEY, BytesBody(LARGE))
    assert server.objects[KEY] == LARGE
    assert server.uploads == {}
    numbers = [asked.query["partNumber"] for asked in server.asked if "partNumber" in asked.query]
    assert sorted(numbers) == ["1", "2", "2", "2", "3"]
    assert server.lines.count(f"POST {KEY} ?uploads") == 1
    assert clock.waited_s == pytest.approx(waits_s)
    driver.close()


@pytest.mark.parametrize(
    ("said", "times", "pause_s"),
    [
        (refusal(500, "InternalError"), 4, None),
        (refusal(403, "AccessDenied"), 1, None),
        (refusal(404, "NoSuchUpload"), 1, None),
        (refusal(503, "SlowDown", Retry_After="60"), 1, 60.0),  # that long the whole put may wait, not a part
    ],
)
def test_a_part_is_not_sent_again_without_end(server: SmallS3, said: bytes, times: int, pause_s: float | None):
    driver, _ = waiting_driver(server)
    server.before = lambda asked: said if asked.query.get("partNumber") == "2" else None
    with pytest.raises(StoreError) as caught:
        driver.put(KEY, BytesBody(LARGE))
    assert sum(asked.query.get("partNumber") == "2" for asked in server.asked) == times
    assert caught.value.retry_after_s == pause_s
    assert server.objects == {}
    assert server.uploads == {}, "aborted"
    driver.close()


def test_who_refuses_before_all_was_sent_is_heard(server: SmallS3):
    """A server that closes at once breaks the sending, and still its answer is read."""
    driver, _ = waiting_driver(server)
    refused = refusal(403, "AccessDenied", Connection="close")
    server.before = lambda asked: refused if asked.query.get("partNumber") == "1" else None
    with pytest.raises(Denied):
        driver.put(KEY, BytesBody(LARGE))
    assert server.uploads == {}
    driver.close()


def test_where_a_proxy_is_set_obstore_sends(server: SmallS3, driver: CloudDriver, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    assert needs_proxy(f"{server.url}/b/x")
    assert not needs_proxy("https://s3.example.org/b/x")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    assert not needs_proxy(f"{server.url}/b/x")
    driver.put(KEY, BytesBody(LARGE))
    assert server.objects[KEY] == LARGE


def test_an_upload_that_fails_although_200_was_said_is_not_taken_for_done(server: SmallS3, driver: CloudDriver):
    """Amazon begins to answer before it knows how it ends."""
    failed = answer(200, b"   <?xml version='1.0'?><Error><Code>InternalError</Code></Error>")
    server.before = lambda asked: failed if asked.method == "POST" and "uploadId" in asked.query else None
    with pytest.raises(Unavailable, match="it is not stored"):
        driver.put(KEY, BytesBody(LARGE))
    assert server.objects == {}
    assert server.uploads == {}


# -- reading ----------------------------------------------------------------------------------------------------------


def test_a_short_body_is_never_an_end(server: SmallS3, driver: CloudDriver):
    facts = {"ETag": '"t"', "Last-Modified": "Sun, 22 Nov 2026 18:00:00 GMT", "Content-Range": "bytes 0-9/10"}
    for said in (
        answer(206, b"01234", Connection="close", **facts | {"Content-Length": "10"}),
        answer(206, b"01234", **facts),
        answer(206, b"01234", **facts | {"Content-Range": "bytes 0-4/10"}),
    ):
        server.before = lambda asked, said=said: said
        with pytest.raises((Unavailable, Unsupported)) as caught:
            read(driver, KEY)
        assert caught.value.store == "pool"


@pytest.mark.parametrize("how", ["cut", "stalled", "500", "replaced", "gone", "other"])
def test_a_later_range_that_fails(server: SmallS3, driver: CloudDriver, how: str):
    server.objects[KEY] = content = content_of(30 * MIB)

    def fail(asked: Asked) -> bytes | None:
        if asked.method != "GET" or asked.headers["range"].startswith("bytes=0-"):
            return None
        if how == "replaced":
            server.objects[KEY] = content[::-1]
        elif how == "gone":
            server.objects.clear()
        if how in ("replaced", "gone"):
            return None
        span = asked.headers["range"][6:].split("-")
        facts = {"ETag": tag(content), "Content-Range": f"bytes {span[0]}-{span[1]}/{len(content)}"}
        if how == "500":
            return refusal(500, "InternalError")
        if how == "other":
            return answer(206, b"x" * 9, **facts | {"Content-Range": f"bytes 0-8/{len(content)}"})
        length = str(int(span[1]) - int(span[0]) + 1)
        closing = {"Connection": "close"} if how == "cut" else {}
        return answer(206, content[:1000], **facts, **closing, **{"Content-Length": length})

    server.before = fail
    expected = PreconditionFailed if how in ("replaced", "gone") else Unavailable
    got = b""
    with driver.open(KEY) as reader, pytest.raises(expected) as caught:  # noqa: PT012 - in which turn is not known
        for _ in range(100):
            got += reader.read(MIB)
    assert caught.value.retryable is (expected is Unavailable)
    assert content.startswith(got)
    assert len(got) >= 4 * MIB


def test_ranges_that_are_ignored_are_read_as_one_stream(server: SmallS3, driver: CloudDriver):
    server.obeys_ranges = False
    server.objects[KEY] = content = content_of(9 * MIB)
    assert read(driver, KEY) == content
    with driver.open(KEY, GetOptions(range=ByteRange(5 * MIB, 5 * MIB + 7))) as reader:
        assert reader.read() == content[5 * MIB : 5 * MIB + 7]
    with driver.open(KEY) as reader:
        for at in (8 * MIB, 10, 4 * MIB):
            reader.seek(at)
            assert reader.read(100) == content[at : at + 100]
    assert "ignores ranges" in driver.findings()[0]
    server.before = lambda asked: answer(
        200, content[:100], ETag='"t"', Content_Length=str(len(content)), Connection="close"
    )
    with pytest.raises(Unavailable):
        read(driver, KEY)


def test_a_listing_out_of_order_is_refused(server: SmallS3, driver: CloudDriver):
    lines = "".join(f"<Contents><Key>{name}</Key><Size>1</Size></Contents>" for name in ("b", "a"))
    server.before = lambda asked: answer(200, f"<L>{lines}</L>".encode())
    with pytest.raises(Unsupported, match="order"):
        list(driver.list())


def test_a_listing_of_many_pages_is_resumed(server: SmallS3, driver: CloudDriver):
    server.objects = {f"000/{number:05}": b"x" for number in range(2500)}
    keys = [stat.key for stat in driver.list()]
    assert keys == sorted(server.objects)
    assert len(server.asked) == 3
    assert [stat.key for stat in driver.list(after=keys[1999])] == keys[2000:]


def test_names_that_are_no_keys_are_told_apart(server: SmallS3, driver: CloudDriver):
    server.objects = dict.fromkeys(
        ("a//b", "folder/", "./x", "good", ".holdfast-pool", "000/.holdfast-probe-1", "../up"), b""
    )
    assert [stat.key for stat in driver.list()] == ["good"]
    refused = dict(driver.refused())
    assert set(refused) == {"a//b", "folder/", "./x", "../up"}
    assert "folder" in refused["folder/"]


def test_an_answer_in_xml_with_definitions_is_refused(server: SmallS3, driver: CloudDriver):
    bomb = b"<!DOCTYPE l [<!ENTITY a 'aaaa'>]><L><Contents><Key>&a;</Key></Contents></L>"
    server.before = lambda asked: answer(200, bomb)
    with pytest.raises(Unavailable):
        list(driver.list())


# -- what the server says ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "code", "expected", "retryable"),
    [
        (403, "AccessDenied", Denied, False),
        (403, "SignatureDoesNotMatch", Unauthenticated, False),
        (403, "InvalidAccessKeyId", Unauthenticated, False),
        (403, "RequestTimeTooSkewed", Unauthenticated, False),
        (400, "ExpiredToken", Unauthenticated, False),
        (401, "Unauthorized", Unauthenticated, False),
        (403, "QuotaExceeded", NoSpace, False),
        (507, "InsufficientStorage", NoSpace, False),
        (404, "NoSuchBucket", Unavailable, True),
        (400, "BadDigest", Unavailable, True),
        (400, "KeyTooLongError", InvalidKey, False),
        (400, "EntityTooLarge", Unsupported, False),
        (400, "AuthorizationHeaderMalformed", Unavailable, False),
        (400, "SomethingElse", Unavailable, False),
        (408, "", Unavailable, True),
        (429, "", Unavailable, True),
        (503, "SlowDown", Unavailable, True),
        (301, "PermanentRedirect", Unavailable, False),
    ],
)
def test_refusals(
    server: SmallS3, driver: CloudDriver, status: int, code: str, expected: type[Exception], retryable: bool
):
    server.before = lambda asked: refusal(status, code)
    for act in (lambda: driver.put(KEY, BytesBody(b"x")), lambda: driver.open(KEY), lambda: list(driver.list())):
        with pytest.raises(expected) as caught:
            act()
        assert caught.value.retryable is retryable
        assert caught.value.store == "pool"


def test_patience_is_asked_for_in_seconds(server: SmallS3, driver: CloudDriver):
    """obstore does not tell the header: one light request more asks for it, and not again within a second."""
    server.before = lambda asked: refusal(503, "SlowDown", Retry_After="7")
    with pytest.raises(Unavailable) as caught:
        driver.put(KEY, BytesBody(b"x"))
    assert caught.value.retry_after_s == 7.0
    assert server.lines == [f"PUT {KEY}", "HEAD /"]
    with pytest.raises(Unavailable):
        driver.open(KEY)
    assert server.lines[2:] == [f"GET {KEY}"]


def test_what_was_signed_is_never_repeated(server: SmallS3, driver_of: Callable[..., CloudDriver]):
    driver = driver_of(session_token="t0ken-of-mine")

    def tell_all(asked: Asked) -> bytes:
        said = f"<Error><Code>SignatureDoesNotMatch</Code><StringToSign>{asked.headers}</StringToSign></Error>"
        return answer(403, said.encode())

    server.before = tell_all
    for act in (lambda: driver.put(KEY, BytesBody(b"x")), lambda: driver.open(KEY), lambda: list(driver.list())):
        with pytest.raises(Unauthenticated) as caught:
            act()
        error: BaseException | None = caught.value
        assert "t0ken" not in str(error)
        assert error is not None
        assert error.__cause__ is None
        assert error.__suppress_context__
    assert "t0ken" in server.asked[0].headers["x-amz-security-token"]


@pytest.mark.parametrize(
    ("endpoint", "words"), [("http://127.0.0.1:1", "refused"), ("http://no-such-host.invalid", "name is not known")]
)
def test_nobody_there(driver_of: Callable[..., CloudDriver], endpoint: str, words: str):
    began = time.monotonic()
    driver = driver_of(endpoint=endpoint)
    driver.expect("0a-mark")
    for name, act in (*every_method(driver).items(), ("identity", driver.identity)):
        with pytest.raises(Unavailable, match=words) as caught:
            act()
        assert caught.value.retryable, name
    assert not driver.occupied(KEY)
    assert time.monotonic() - began < 5


def test_many_who_wait_for_a_silent_bucket_wait_together(server: SmallS3, driver: CloudDriver):
    silent = threading.Event()
    server.before = lambda asked: (silent.wait(20), LOST)[1]
    driver.expect("0a-mark")
    began = time.monotonic()
    with ThreadPoolExecutor(8) as pool:
        errors = [attempt.exception() for attempt in [pool.submit(driver.stat, KEY) for _ in range(8)]]
    assert time.monotonic() - began < 2.5
    assert {type(error) for error in errors} == {Unavailable}
    assert len({id(error) for error in errors}) == 8
    silent.set()


def test_a_server_that_says_nothing(server: SmallS3, driver: CloudDriver):
    silent = threading.Event()
    server.before = lambda asked: (silent.wait(3), LOST)[1]
    began = time.monotonic()
    with pytest.raises(Unavailable, match="in time"):
        driver.stat(KEY)
    assert time.monotonic() - began < 2.5
    silent.set()


# -- uploads that nobody finished -------------------------------------------------------------------------------------


def test_unfinished_uploads_are_named_and_taken_away_when_they_are_old(server: SmallS3, driver: CloudDriver):
    server.uploads = {"old": {1: b"x"}, "other": {}}
    pieces = list(driver.leftovers())
    assert [piece.name for piece in pieces] == ["k?uploadId=old", "k?uploadId=other"]
    young = replace(pieces[0], age_s=3600.0)
    assert not driver.discard(young)
    assert "old" in server.uploads
    old = replace(pieces[0], age_s=90_000.0)
    assert driver.discard(old)
    assert driver.discard(old), "it is gone: that was the wish"
    assert set(server.uploads) == {"other"}


def test_a_stream_that_turns_out_small_or_large(server: SmallS3, driver: CloudDriver):
    for size in (0, 5 * MIB, 5 * MIB + 1, 11 * MIB):
        content = content_of(size)
        stat = driver.put(KEY, StreamBody(Dribble(content)))
        assert (stat.size_bytes, server.objects[KEY] == content) == (size, True)
        assert (f"POST {KEY} ?uploads" in server.lines) is (size > 5 * MIB)
        server.asked.clear()
