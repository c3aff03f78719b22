"""The kit's object servers: real, shared by a test run, gone afterwards; and what each of them does with what S3 and
Azure promise.

The table pins what Holdfast's driver has to live with. Where a newer server does better, its line here is what changes.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import http.client
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from azure.core import MatchConditions
from azure.core.exceptions import HttpResponseError, ResourceExistsError
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from botocore.exceptions import ClientError

from holdfast.testing import object_servers
from holdfast.testing.here import CannotRunHere
from holdfast.testing.object_backdoors import AzureBucket, S3Bucket
from holdfast.testing.object_servers import NAMES, ObjectServer, running
from holdfast.testing.object_sharing import shared

ROOT = Path(__file__).resolve().parents[2]
INSTALLED = ROOT / object_servers.FOLDER
S3_NAMES = tuple(name for name in NAMES if name != "azurite")
PART_BYTES = 5 * 2**20
WRITERS = 12
ROUNDS = 20


def each(names: tuple[str, ...]) -> list[Any]:
    return [pytest.param(name, marks=pytest.mark.needs(name)) for name in names]


@pytest.fixture
def server(request: pytest.FixtureRequest, object_server: Callable[[str], ObjectServer]) -> ObjectServer:
    return object_server(request.param)


# -- what all of them do ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("server", each(NAMES), indirect=True)
def test_what_is_put_is_there_and_listed(server: ObjectServer) -> None:
    bucket = server.backdoor(server.fresh_bucket())
    assert bucket.names() == set()
    assert bucket.read("000/dataset_24.dat") is None
    bucket.write("000/dataset_24.dat", b"ACGT")
    bucket.write("000/dataset_25.dat", b"")
    bucket.write("000/dataset_24.dat", b"ACGTACGT")
    assert bucket.read("000/dataset_24.dat") == b"ACGTACGT"
    assert bucket.read("000/dataset_25.dat") == b""
    assert bucket.names() == {"000/dataset_24.dat", "000/dataset_25.dat"}
    bucket.remove("000/dataset_24.dat")
    assert bucket.read("000/dataset_24.dat") is None
    assert bucket.names() == {"000/dataset_25.dat"}


@pytest.mark.parametrize("server", each(NAMES), indirect=True)
def test_a_fresh_bucket_is_the_tests_own(server: ObjectServer) -> None:
    first, second = server.fresh_bucket(), server.fresh_bucket()
    server.backdoor(first).write("name", b"x")
    assert first != second
    assert server.backdoor(second).names() == set()


@pytest.mark.parametrize("server", each(NAMES), indirect=True)
def test_it_listens_on_loopback_only(server: ObjectServer) -> None:
    port = urllib.parse.urlsplit(server.endpoint_url).port
    listening = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    places = {line[1] for line in listening if line[3] == "0A" and line[1].endswith(f":{port:04X}")}
    assert places == {f"0100007F:{port:04X}"}


@pytest.mark.parametrize("server", each(NAMES), indirect=True)
def test_an_upload_that_has_not_ended_is_seen(server: ObjectServer) -> None:
    bucket = server.backdoor(server.fresh_bucket())
    if isinstance(bucket, AzureBucket):
        bucket.client.get_blob_client(bucket.name, "half").stage_block("0001", b"half")
    else:
        upload = bucket.client.create_multipart_upload(Bucket=bucket.name, Key="half")["UploadId"]
        bucket.client.upload_part(Bucket=bucket.name, Key="half", UploadId=upload, PartNumber=1, Body=b"half")
    assert [one["Key"] for one in bucket.uploads()] == ["half"]
    assert len(bucket.names()) == 1
    assert bucket.names() != {"half"}
    assert bucket.read("half") is None


# -- what S3 promises, and who keeps it -------------------------------------------------------------------------------
#
# A probe looks at an empty bucket and says whether the promise is kept.


def refuses(call: Callable[[], object], *statuses: int) -> bool:
    try:
        call()
    except ClientError as error:
        return error.response["ResponseMetadata"]["HTTPStatusCode"] in statuses
    return False


def put(bucket: S3Bucket, key: str, content: bytes = b"x", **options: Any) -> dict[str, Any]:
    return bucket.client.put_object(Bucket=bucket.name, Key=key, Body=content, **options)


def get(bucket: S3Bucket, key: str, **options: Any) -> dict[str, Any]:
    answer = bucket.client.get_object(Bucket=bucket.name, Key=key, **options)
    return {**answer, "Content": answer["Body"].read()}


def upload(bucket: S3Bucket, key: str, parts: list[bytes], **options: Any) -> dict[str, Any]:
    place = {"Bucket": bucket.name, "Key": key}
    place["UploadId"] = bucket.client.create_multipart_upload(**place)["UploadId"]
    done = [
        {"PartNumber": number, "ETag": bucket.client.upload_part(**place, PartNumber=number, Body=part)["ETag"]}
        for number, part in enumerate(parts, 1)
    ]
    return bucket.client.complete_multipart_upload(**place, MultipartUpload={"Parts": done}, **options)


def winners(bucket: S3Bucket, key: str) -> int:
    """How many of many who create it at the same time are told that they did."""

    def create(number: int) -> bool:
        return not refuses(lambda: put(bucket, key, str(number).encode() * 20_000, IfNoneMatch="*"), 409, 412)

    with ThreadPoolExecutor(WRITERS) as pool:
        return sum(pool.map(create, range(WRITERS)))


def ask(url: str, method: str = "GET", content: bytes | None = None, headers: dict[str, str] | None = None) -> int:
    asked = urllib.request.Request(url, data=content, method=method, headers=headers or {})
    try:
        with urllib.request.urlopen(asked, timeout=20) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        with error:
            return error.code


def signed(server: ObjectServer, url: str, **headers: str) -> dict[str, str]:
    """The headers of a PUT to this address, signed."""
    asked = AWSRequest("PUT", url, headers=headers)
    S3SigV4Auth(Credentials(server.access_key, server.secret_key), "s3", server.region).add_auth(asked)
    return dict(asked.headers)


def a_range_gives_the_part(bucket: S3Bucket, server: ObjectServer) -> bool:
    content = bytes(range(256)) * 10
    bucket.write("r", content)
    answers = [get(bucket, "r", Range=f"bytes={wanted}")["Content"] for wanted in ("10-19", "2500-", "-7")]
    return answers == [content[10:20], content[2500:], content[-7:]]


def a_range_is_answered_with_206(bucket: S3Bucket, server: ObjectServer) -> bool:
    bucket.write("r", b"0123456789")
    return get(bucket, "r", Range="bytes=2-4")["ResponseMetadata"]["HTTPStatusCode"] == 206


def get_if_match_is_obeyed(bucket: S3Bucket, server: ObjectServer) -> bool:
    bucket.write("r", b"old")
    tag = bucket.head("r")["ETag"]
    assert get(bucket, "r", IfMatch=tag)["Content"] == b"old"
    bucket.write("r", b"new")
    return refuses(lambda: get(bucket, "r", IfMatch=tag), 412)


def if_none_match_is_obeyed(bucket: S3Bucket, server: ObjectServer) -> bool:
    put(bucket, "c", b"first", IfNoneMatch="*")
    return refuses(lambda: put(bucket, "c", b"second", IfNoneMatch="*"), 412) and bucket.read("c") == b"first"


def creating_is_one_step(bucket: S3Bucket, server: ObjectServer) -> bool:
    return all(winners(bucket, f"race/{number}") == 1 for number in range(ROUNDS))


def if_match_is_obeyed(bucket: S3Bucket, server: ObjectServer) -> bool:
    tag = put(bucket, "c", b"1")["ETag"]
    if refuses(lambda: put(bucket, "c", b"2", IfMatch=tag), 412):
        return False
    return refuses(lambda: put(bucket, "c", b"3", IfMatch=tag), 412) and bucket.read("c") == b"2"


def if_match_without_quotes_is_obeyed(bucket: S3Bucket, server: ObjectServer) -> bool:
    tag = put(bucket, "c", b"1")["ETag"].strip('"')
    if refuses(lambda: put(bucket, "c", b"2", IfMatch=tag), 412):
        return False
    return refuses(lambda: put(bucket, "c", b"3", IfMatch=tag), 412) and bucket.read("c") == b"2"


def completing_obeys_if_none_match(bucket: S3Bucket, server: ObjectServer) -> bool:
    bucket.write("c", b"old")
    return refuses(lambda: upload(bucket, "c", [b"new"], IfNoneMatch="*"), 412) and bucket.read("c") == b"old"


def completing_tells_the_tag(bucket: S3Bucket, server: ObjectServer) -> bool:
    parts = [b"1" * PART_BYTES, b"2"]
    told = upload(bucket, "c", parts)["ETag"]
    assert bucket.read("c") == b"".join(parts)
    return told == bucket.head("c")["ETag"]


def the_tag_of_parts_is_as_amazons(bucket: S3Bucket, server: ObjectServer) -> bool:
    parts = [b"1" * PART_BYTES, b"2"]
    upload(bucket, "c", parts)
    digests = b"".join(hashlib.md5(part, usedforsecurity=False).digest() for part in parts)
    return bucket.head("c")["ETag"] == f'"{hashlib.md5(digests, usedforsecurity=False).hexdigest()}-2"'


def small_parts_are_refused(bucket: S3Bucket, server: ObjectServer) -> bool:
    return refuses(lambda: upload(bucket, "c", [b"1", b"2"]), 400)


def checksums_are_kept(bucket: S3Bucket, server: ObjectServer) -> bool:
    first = put(bucket, "c", b"content", ChecksumAlgorithm="SHA256")
    later = bucket.client.head_object(Bucket=bucket.name, Key="c", ChecksumMode="ENABLED")
    told = {answer.get("ChecksumSHA256") for answer in (first, later)}
    return told == {base64.b64encode(hashlib.sha256(b"content").digest()).decode()}


def a_wrong_checksum_is_refused(bucket: S3Bucket, server: ObjectServer) -> bool:
    wrong = base64.b64encode(hashlib.sha256(b"other").digest()).decode()
    return refuses(lambda: put(bucket, "c", b"content", ChecksumSHA256=wrong), 400) and bucket.read("c") is None


def a_wrong_md5_is_refused(bucket: S3Bucket, server: ObjectServer) -> bool:
    wrong = base64.b64encode(hashlib.md5(b"other", usedforsecurity=False).digest()).decode()
    return refuses(lambda: put(bucket, "c", b"content", ContentMD5=wrong), 400) and bucket.read("c") is None


def changed_bytes_are_refused(bucket: S3Bucket, server: ObjectServer) -> bool:
    url = f"{server.endpoint_url}/{bucket.name}/c"
    headers = signed(server, url, **{"x-amz-content-sha256": hashlib.sha256(b"good").hexdigest()})
    return ask(url, "PUT", b"evil", headers) in (400, 403) and bucket.read("c") is None


def a_put_that_is_cut_off_leaves_nothing(bucket: S3Bucket, server: ObjectServer) -> bool:
    url = f"{server.endpoint_url}/{bucket.name}/c"
    place = urllib.parse.urlsplit(url)
    headers = signed(server, url, Host=place.netloc, **{"x-amz-content-sha256": "UNSIGNED-PAYLOAD"})
    cut = http.client.HTTPConnection(place.hostname, place.port, timeout=20)
    cut.putrequest("PUT", place.path, skip_host=True)
    for name, value in {**headers, "Content-Length": "1000000"}.items():
        cut.putheader(name, value)
    cut.endheaders(b"z" * 5000)
    time.sleep(0.2)
    cut.close()
    end = time.monotonic() + 0.5
    while time.monotonic() < end:
        if bucket.read("c") is not None:
            return False
        time.sleep(0.1)
    return True


def a_wrong_secret_is_refused(bucket: S3Bucket, server: ObjectServer) -> bool:
    bucket.write("c", b"x")
    stranger = replace(server, secret_key="guessed").backdoor(bucket.name)
    return refuses(lambda: stranger.read("c"), 403)


def a_changed_address_is_refused(bucket: S3Bucket, server: ObjectServer) -> bool:
    bucket.write("mine", b"x")
    bucket.write("your", b"y")
    place = {"Bucket": bucket.name, "Key": "mine"}
    url = bucket.client.generate_presigned_url("get_object", Params=place, ExpiresIn=60)
    assert ask(url) == 200
    return ask(url.replace("/mine?", "/your?")) == 403


def an_address_names_the_file(bucket: S3Bucket, server: ObjectServer) -> bool:
    bucket.write("c", b"x")
    place = {"Bucket": bucket.name, "Key": "c", "ResponseContentDisposition": 'attachment; filename="reads.fastq"'}
    url = bucket.client.generate_presigned_url("get_object", Params=place, ExpiresIn=60)
    with urllib.request.urlopen(url, timeout=20) as answer:
        return "reads.fastq" in (answer.headers["Content-Disposition"] or "")


def metadata_is_kept_as_it_is(bucket: S3Bucket, server: ObjectServer) -> bool:
    put(bucket, "c", Metadata={"blake3": "abc"})
    return bucket.head("c")["Metadata"] == {"blake3": "abc"}


def listing_starts_where_it_is_told(bucket: S3Bucket, server: ObjectServer) -> bool:
    for key in ("l/a", "l/b/1", "l/c", "l/d"):
        bucket.write(key, b"x")
    first = bucket.client.list_objects_v2(Bucket=bucket.name, Prefix="l/", StartAfter="l/b", MaxKeys=2)
    token = first["NextContinuationToken"]
    rest = bucket.client.list_objects_v2(Bucket=bucket.name, Prefix="l/", ContinuationToken=token)
    return [blob["Key"] for page in (first, rest) for blob in page["Contents"]] == ["l/b/1", "l/c", "l/d"]


def listing_starts_before_a_name_with_an_accent(bucket: S3Bucket, server: ObjectServer) -> bool:
    bucket.write("é", b"x")
    page = bucket.client.list_objects_v2(Bucket=bucket.name, StartAfter="0", EncodingType="url")
    return page["KeyCount"] == 1


def a_name_may_lie_below_another(bucket: S3Bucket, server: ObjectServer) -> bool:
    bucket.write("k", b"1")
    try:
        bucket.write("k/child", b"2")
    except ClientError:
        return False
    return (bucket.read("k"), bucket.read("k/child")) == (b"1", b"2")


def listing_no_uploads_is_no_error(bucket: S3Bucket, server: ObjectServer) -> bool:
    return not refuses(lambda: bucket.client.list_multipart_uploads(Bucket=bucket.name), 404)


def removing_nothing_is_no_error(bucket: S3Bucket, server: ObjectServer) -> bool:
    return not refuses(lambda: bucket.remove("never"), 404, 500)


ALL = frozenset(S3_NAMES)
KEPT_BY: dict[Callable[[S3Bucket, ObjectServer], bool], frozenset[str]] = {
    a_range_gives_the_part: ALL,
    a_range_is_answered_with_206: ALL - {"rclone"},
    get_if_match_is_obeyed: ALL - {"rclone"},
    if_none_match_is_obeyed: ALL - {"rclone"},
    creating_is_one_step: ALL - {"rclone", "swift"},
    if_match_is_obeyed: frozenset({"localstack", "moto"}),
    if_match_without_quotes_is_obeyed: frozenset({"localstack", "moto", "rgw"}),
    completing_obeys_if_none_match: ALL - {"rclone", "rgw"},
    completing_tells_the_tag: ALL - {"rclone", "rgw"},
    the_tag_of_parts_is_as_amazons: ALL - {"rclone"},
    small_parts_are_refused: ALL - {"rclone"},
    checksums_are_kept: frozenset({"localstack", "moto"}),
    a_wrong_checksum_is_refused: frozenset({"localstack", "swift"}),
    a_wrong_md5_is_refused: ALL - {"moto"},
    changed_bytes_are_refused: frozenset({"rgw", "swift"}),
    a_put_that_is_cut_off_leaves_nothing: ALL,
    a_wrong_secret_is_refused: frozenset({"rgw", "swift", "rclone"}),
    a_changed_address_is_refused: ALL - {"moto"},
    an_address_names_the_file: ALL,
    metadata_is_kept_as_it_is: ALL - {"rclone"},
    listing_starts_where_it_is_told: ALL,
    listing_starts_before_a_name_with_an_accent: ALL - {"localstack"},
    a_name_may_lie_below_another: ALL - {"rclone"},
    listing_no_uploads_is_no_error: ALL - {"rclone"},
    removing_nothing_is_no_error: ALL,
}


@pytest.mark.parametrize("probe", KEPT_BY, ids=lambda probe: probe.__name__)
@pytest.mark.parametrize("server", each(S3_NAMES), indirect=True)
def test_a_promise_of_s3(server: ObjectServer, probe: Callable[[S3Bucket, ObjectServer], bool]) -> None:
    bucket = server.backdoor(server.fresh_bucket())
    assert isinstance(bucket, S3Bucket)
    assert probe(bucket, server) is (server.name in KEPT_BY[probe])


@pytest.mark.needs("swift")
def test_swift_tells_several_that_they_were_the_first(swift: ObjectServer) -> None:
    bucket = swift.backdoor(swift.fresh_bucket())
    assert isinstance(bucket, S3Bucket)
    assert any(winners(bucket, f"race/{number}") > 1 for number in range(ROUNDS))


# -- what Azure promises, and Azurite keeps ---------------------------------------------------------------------------


@pytest.fixture
def container(azurite: ObjectServer) -> AzureBucket:
    bucket = azurite.backdoor(azurite.fresh_bucket())
    assert isinstance(bucket, AzureBucket)
    return bucket


@pytest.mark.needs("azurite")
def test_azurite_creates_in_one_step(container: AzureBucket) -> None:
    def create(key: str, number: int) -> bool:
        try:
            container.client.get_blob_client(container.name, key).upload_blob(str(number).encode() * 20_000)
        except ResourceExistsError:
            return False
        return True

    with ThreadPoolExecutor(WRITERS) as pool:
        for number in range(5):
            assert sum(pool.map(create, [f"race/{number}"] * WRITERS, range(WRITERS))) == 1


@pytest.mark.needs("azurite")
def test_azurite_obeys_if_match(container: AzureBucket) -> None:
    container.write("c", b"old")
    blob, tag = container.client.get_blob_client(container.name, "c"), container.head("c")["etag"]
    unchanged = {"etag": tag, "match_condition": MatchConditions.IfNotModified}
    blob.upload_blob(b"new", overwrite=True, **unchanged)
    with pytest.raises(HttpResponseError) as refused:
        blob.upload_blob(b"newer", overwrite=True, **unchanged)
    assert refused.value.status_code == 412
    with pytest.raises(HttpResponseError) as refused:
        blob.download_blob(**unchanged).readall()
    assert refused.value.status_code == 412
    assert container.read("c") == b"new"


@pytest.mark.needs("azurite")
def test_azurite_reads_a_part(container: AzureBucket) -> None:
    container.write("c", b"0123456789")
    assert container.client.get_blob_client(container.name, "c").download_blob(offset=2, length=3).readall() == b"234"


@pytest.mark.needs("azurite")
def test_azurite_refuses_bytes_that_changed_and_a_wrong_key(azurite: ObjectServer, container: AzureBucket) -> None:
    url = f"{azurite.endpoint_url}/{container.name}"
    container.write("c", b"x")
    stranger = replace(azurite, secret_key=base64.b64encode(b"guessed").decode()).backdoor(container.name)
    with pytest.raises(HttpResponseError) as refused:
        stranger.read("c")
    assert refused.value.status_code == 403
    assert ask(f"{url}/c") in (403, 404)
    wrong = bytearray(hashlib.md5(b"other", usedforsecurity=False).digest())
    with pytest.raises(HttpResponseError) as refused:
        container.client.get_blob_client(container.name, "d")._client.block_blob.upload(
            content_length=7, body=b"content", transactional_content_md5=wrong
        )
    assert refused.value.status_code == 400
    assert container.read("d") is None


@pytest.mark.needs("azurite")
def test_azurite_takes_a_backslash_for_a_slash(container: AzureBucket) -> None:
    container.write("back\\slash", b"x")
    assert container.names() == {"back/slash"}


# -- one for a whole run ----------------------------------------------------------------------------------------------

SECOND_PROCESS = """
import sys
from pathlib import Path
from holdfast.testing.object_sharing import shared
with shared("moto", Path(sys.argv[1]), Path(sys.argv[2])) as server:
    print(server.process_id, server.endpoint_url, flush=True)
    sys.stdin.read()
"""


@contextlib.contextmanager
def second_process(run_folder: Path) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-c", SECOND_PROCESS, str(INSTALLED), str(run_folder)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(command, text=True, **pipes, env={**os.environ, "PYTHONPATH": str(ROOT / "src")}) as process:
        try:
            yield process
        finally:
            process.kill()


def is_alive(process_id: int) -> bool:
    try:
        state = Path(f"/proc/{process_id}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"


def ends(process_id: int, within_s: float = 10.0) -> bool:
    end = time.monotonic() + within_s
    while is_alive(process_id):
        if time.monotonic() > end:
            return False
        time.sleep(0.02)
    return True


def parent_of(process_id: int) -> int:
    return int(Path(f"/proc/{process_id}/stat").read_text().rsplit(")", 1)[1].split()[1])


@pytest.mark.needs("moto")
def test_two_processes_share_one_until_the_last_has_gone(tmp_path: Path) -> None:
    with shared("moto", INSTALLED, tmp_path) as ours:
        bucket = ours.fresh_bucket()
        with second_process(tmp_path) as other:
            assert other.stdout.readline().split() == [str(ours.process_id), ours.endpoint_url]
    # ours is left first, and theirs was killed
    assert ends(ours.process_id)
    assert not ours.folder.exists()
    with shared("moto", INSTALLED, tmp_path) as another:
        assert another.process_id != ours.process_id
        assert bucket not in {one["Name"] for one in another.backdoor("x").client.list_buckets()["Buckets"]}
    assert ends(another.process_id)


@pytest.mark.needs("moto")
def test_it_stays_for_whoever_still_uses_it(tmp_path: Path) -> None:
    with second_process(tmp_path) as other:
        process_id, _ = other.stdout.readline().split()
        with shared("moto", INSTALLED, tmp_path) as ours:
            assert ours.process_id == int(process_id)
            other.kill()
            other.wait()
            bucket = ours.backdoor(ours.fresh_bucket())
            bucket.write("k", b"still here")
            assert bucket.read("k") == b"still here"
    assert ends(int(process_id))


@pytest.mark.parametrize("name", each(NAMES))
def test_nothing_stays_when_its_keeper_is_killed(name: str, tmp_path: Path) -> None:
    with shared(name, INSTALLED, tmp_path) as server:
        keeper = parent_of(server.process_id)
        family = [*children_of(keeper), *children_of(server.process_id)]
        assert server.process_id in family
        os.kill(keeper, signal.SIGKILL)
        for process_id in family:
            assert ends(process_id), Path(f"/proc/{process_id}/cmdline").read_text()


@pytest.mark.needs("moto")
def test_another_is_started_when_the_keeper_was_killed(tmp_path: Path) -> None:
    with shared("moto", INSTALLED, tmp_path) as server:
        os.kill(parent_of(server.process_id), signal.SIGKILL)
        assert ends(server.process_id)
        with shared("moto", INSTALLED, tmp_path) as another:
            another.backdoor(another.fresh_bucket()).write("k", b"x")


def children_of(process_id: int) -> list[int]:
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if parent_of(int(entry.name)) == process_id:
                found.append(int(entry.name))
    return found


@pytest.mark.needs("moto")
def test_it_is_gone_after_its_block() -> None:
    with running("moto", INSTALLED) as server:
        server.backdoor(server.fresh_bucket()).write("k", b"x")
        assert is_alive(server.process_id)
    assert not is_alive(server.process_id)
    assert not server.folder.exists()


def test_what_is_not_installed_is_said(tmp_path: Path) -> None:
    with pytest.raises(CannotRunHere, match="tools/setup_test_servers"), running("moto", tmp_path):
        pass
    with pytest.raises(CannotRunHere, match="tools/setup_test_servers"), shared("moto", tmp_path, tmp_path):
        pass
    with pytest.raises(ValueError, match="there are: rgw"):
        object_servers.missing("minio", tmp_path)
