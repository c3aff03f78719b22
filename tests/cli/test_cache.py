"""cache, cache ls, cache warm, cache drop; and what pools, pool show and check say of a remote pool."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

import pytest
from tests.cli.lab import Lab
from tests.remote_kit import BOUND_BYTES, clouds_are_folders, remote_of, write_document

from holdfast.cli.main import main
from holdfast.config.build import open_hold
from holdfast.config.read import read_document
from holdfast.errors import Unavailable
from holdfast.hold.hold import Hold
from holdfast.keys import Key
from holdfast.testing.remote_like import Bucket, RemoteLike

CONTENT = b"ACGT" * 5000
SIZE = len(CONTENT)


@pytest.fixture
def remotes(lab: Lab) -> Iterator[dict[str, RemoteLike]]:
    """The laboratory has a disk and a bucket now."""
    write_document(lab.home)
    with clouds_are_folders(lab.home) as found:
        yield found


def stored(lab: Lab, *names: str) -> list[int]:
    """Datasets in the bucket, of which nothing is cached."""
    ids = [int(lab.put(name, CONTENT, "--pool", "cloud")["id"]) for name in names]
    lab.begin()
    lab.json("cache", "drop", "--all")
    return ids


def test_warm_fetches_whole_and_says_so(lab: Lab, remotes: dict[str, RemoteLike]):
    [dataset] = stored(lab, "reads")
    answer = lab.call("cache", "warm", dataset)
    assert (answer.code, answer.out) == (0, f"fetched 19.5 KiB of dataset {dataset}: reads (19.5 KiB), verified\n")
    again = lab.json("cache", "warm", dataset)
    assert (again["id"], again["fetched_bytes"]) == (dataset, 0)
    assert (again["cached"]["held_bytes"], again["cached"]["verified"]) == (SIZE, True)
    assert "had all of dataset" in lab.call("cache", "warm", dataset).out


def test_warm_shows_its_progress(lab: Lab, remotes: dict[str, RemoteLike]):
    ids = stored(lab, "a", "b")
    answer = lab.call("cache", "warm", *ids, "--progress=plain")
    assert answer.err.startswith("Fetching 2 datasets: 0 B of 39.1 KiB (0%)")
    assert "39.1 KiB done" in answer.err


def test_one_that_cannot_be_fetched_does_not_stop_the_others(lab: Lab, remotes: dict[str, RemoteLike]):
    first, second = stored(lab, "a", "b")
    Bucket(lab.home / "bucket-cloud").remove(lab.json("show", first)["replicas"][0]["key"])
    answer = lab.call("cache", "warm", first, second, "--json")
    assert answer.code == 3
    assert [one["id"] for one in answer.json] == [second]
    assert answer.json[0]["cached"]["whole"]
    assert lab.call("cache", "warm", first).code == 3


@pytest.mark.parametrize(
    ("how", "code", "words"), [("changed", 5, "is damaged"), ("gone", 3, "not in pool cloud any more")]
)
def test_what_is_known_to_be_damaged_or_gone_is_not_said_to_need_no_copy(
    lab: Lab, remotes: dict[str, RemoteLike], how: str, code: int, words: str
):
    [dataset] = stored(lab, "a")
    bucket, key = Bucket(lab.home / "bucket-cloud"), Key(lab.json("show", dataset)["replicas"][0]["key"])
    lab.call("cache", "drop", dataset)
    if how == "gone":
        bucket.remove(key)
    else:
        bucket.replace(key, b"somebody else's bytes")
    assert lab.call("get", dataset, "-o", "-").code == code  # now it is known
    answer = lab.call("cache", "warm", dataset)
    assert answer.code == code
    assert words in answer.err


def test_a_dataset_on_disk_needs_no_copy(lab: Lab, remotes: dict[str, RemoteLike]):
    stored(lab)
    local = lab.put("near", CONTENT, "--pool", "newdata")
    answer = lab.call("cache", "warm", local["id"])
    assert answer.code == 0
    assert "nothing to fetch" in answer.out
    assert "newdata" in answer.out
    assert lab.json("cache", "warm", local["id"])["cached"] is None


def test_a_line_for_each_folder(lab: Lab, remotes: dict[str, RemoteLike]):
    [dataset] = stored(lab, "reads")
    lab.json("cache", "warm", dataset)
    [folder] = lab.json("cache")
    assert folder["folder"] == str(lab.home / "cache")
    assert folder["pools"] == ["cloud"]
    assert (folder["held_bytes"], folder["bound_bytes"], folder["entries"]) == (SIZE, BOUND_BYTES, 1)
    assert folder["fetched_bytes"] == SIZE
    assert folder["free_bytes"] > 0
    head, line = lab.call("cache").out.splitlines()
    assert head.split("  ")[0] == "FOLDER"
    for words in (str(lab.home / "cache"), "cloud", "19.5 KiB", "64.0 MiB"):
        assert words in line


def test_contents_page_by_key(lab: Lab, remotes: dict[str, RemoteLike]):
    ids = stored(lab, "a", "b", "c")
    lab.json("cache", "warm", *ids)
    seen: list[str] = []
    after = ""
    for _ in range(3):
        [one] = lab.json("cache", "ls", "--limit", "1", "--after", after, "--pool", "cloud")
        seen.append(one["key"])
        after = one["key"]
    assert seen == sorted(seen)
    assert len(set(seen)) == 3
    assert lab.json("cache", "ls", "--after", after) == []
    first = lab.json("cache", "ls")[0]
    assert (first["size_bytes"], first["held_bytes"], first["whole"], first["verified"]) == (SIZE, SIZE, True, True)
    assert (first["object_store_id"], first["pins"], first["in_use"]) == ("cloud", [], False)
    text = lab.call("cache", "ls", "--limit", "2")
    assert "verified" in text.out
    assert text.err == f"There may be more: --after {seen[1]}\n"


def test_drop_takes_the_copy_and_leaves_the_dataset(lab: Lab, remotes: dict[str, RemoteLike]):
    first, second = stored(lab, "a", "b")
    lab.json("cache", "warm", first, second)
    answer = lab.call("cache", "drop", first)
    assert (answer.code, answer.out) == (0, "dropped 1 copy, 19.5 KiB\n")
    assert [one["key"] for one in lab.json("cache", "ls")] == [lab.json("show", second)["replicas"][0]["key"]]
    assert lab.call("cache", "drop", first).out == "Nothing of it was held.\n"
    whole = lab.json("cache", "drop", "--pool", "cloud")
    assert (whole["dropped"], whole["freed_bytes"], whole["staying"]) == (1, SIZE, [])
    assert lab.json("cache", "ls") == []
    assert lab.json("cache")[0]["held_bytes"] == 0
    target = lab.home / "back"
    assert lab.call("get", first, "-o", target).code == 0
    assert target.read_bytes() == CONTENT


def test_what_a_job_has_pinned_stays(lab: Lab, remotes: dict[str, RemoteLike]):
    first, second = stored(lab, "a", "b")
    lab.json("cache", "warm", first, second)
    with open_hold(read_document(lab.home / "holdfast.yml", environ={})) as hold:
        hold.keeping.pin(hold.find(first), "job 7")
    answer = lab.call("cache", "drop", "--all")
    assert answer.code == 0
    assert "dropped 1 copy, 19.5 KiB" in answer.out
    assert "1 copy stays" in answer.out
    assert "pinned by job 7" in answer.out
    assert "pinned by job 7" in lab.call("cache", "ls").out
    shape = lab.json("cache", "drop", first)
    assert (shape["dropped"], shape["stays"], shape["staying"][0]["pins"]) == (0, 1, ["job 7"])
    assert lab.json("cache")[0]["pinned"] == 1


def test_what_is_read_stays(lab: Lab, remotes: dict[str, RemoteLike]):
    [dataset] = stored(lab, "a")
    lab.json("cache", "warm", dataset)
    with open_hold(read_document(lab.home / "holdfast.yml", environ={})) as hold, hold.lease(dataset) as path:
        assert "in use" in lab.call("cache", "ls").out
        shape = lab.json("cache", "drop", "--all")
        assert (shape["dropped"], shape["stays"], shape["staying"][0]["in_use"]) == (0, 1, True)
        assert path.read_bytes() == CONTENT
    assert lab.json("cache", "drop", "--all")["dropped"] == 1


def test_what_is_larger_than_the_cache_is_refused(lab: Lab):
    write_document(lab.home)
    with clouds_are_folders(lab.home, bound_bytes=SIZE - 1):
        [dataset] = stored(lab, "a")
        answer = lab.call("cache", "warm", dataset)
        assert answer.code == 4
        assert "cannot be held in the cache" in answer.err
        assert lab.json("cache", "ls") == []


def test_a_part_that_was_read_is_listed_as_a_part(lab: Lab, remotes: dict[str, RemoteLike]):
    block = 2**20
    dataset = int(lab.put("large", b"ACGT" * (5 * block), "--pool", "cloud")["id"])
    lab.json("cache", "drop", "--all")
    assert lab.call("get", dataset, "-o", lab.home / "part", "--range", f"{3 * block}-{3 * block + 9}").code == 0
    [held] = lab.json("cache", "ls")
    assert (held["size_bytes"], held["whole"], held["verified"]) == (20 * block, False, False)
    assert [3 * block, 4 * block] in held["parts"]
    assert held["held_bytes"] <= 2 * block
    assert "in part" in lab.call("cache", "ls").out


def test_say_what_to_drop_in_one_way(lab: Lab, remotes: dict[str, RemoteLike]):
    stored(lab)
    for arguments in ((), ("1", "--all"), ("--all", "--pool", "cloud"), ("1", "--pool", "cloud")):
        answer = lab.call("cache", "drop", *arguments)
        assert answer.code == 2
        assert "--all" in answer.err


def test_where_no_pool_has_a_cache(lab: Lab):
    lab.begin()
    dataset = lab.put("near")["id"]
    for words in (["cache"], ["cache", "ls"]):
        answer = lab.call(*words)
        assert answer.code == 0
        assert answer.out.startswith("No pool has a cache: only remote pools")
        assert lab.json(*words) == []
    for words in (["cache", "warm", str(dataset)], ["cache", "drop", "--all"], ["cache", "ls", "--pool", "newdata"]):
        answer = lab.call(*words)
        assert answer.code == 3
        assert "no cache" in answer.err or "no pool has a cache" in answer.err


def test_shared_options_stand_anywhere(lab: Lab, remotes: dict[str, RemoteLike], capsys: pytest.CaptureFixture[str]):
    stored(lab)
    for arguments in (["cache", "--json"], ["--json", "cache"], ["cache", "--json", "ls"], ["--json", "cache", "ls"]):
        assert lab.call(*arguments).json is not None
    assert main(["cache", "lss"]) == 2
    assert "Did you mean 'ls'" in capsys.readouterr().err


def test_pools_and_check_say_how_a_remote_pool_is(lab: Lab, remotes: dict[str, RemoteLike]):
    stored(lab)
    shown = lab.json("pool", "show", "cloud")
    assert shown["health"] == {"state": "ok", "failures": 0, "error": None, "retry_in_s": None}
    assert shown["cache"][0]["bound_bytes"] == BOUND_BYTES
    card = lab.call("pool", "show", "cloud").out
    assert f"Cache     {lab.home / 'cache'}: 0 B of 64.0 MiB" in card
    assert "Health" not in card
    checked = lab.json("check")["pools"]
    assert [one["health"] and one["health"]["state"] for one in checked] == [None, "ok"]

    with failing_at_first(times=1):
        assert "active, failing" in lab.call("pools").out
        assert "failing after 1 failure; the last: no route" in lab.call("pool", "show", "cloud").out
    with failing_at_first(times=5):
        assert "active, unreachable" in lab.call("pools").out
        shown = lab.call("pool", "show", "cloud").out
        assert "paused after 5 failures in a row, asked again in 5 s; the last: no route" in shown


@contextmanager
def failing_at_first(times: int) -> Iterator[None]:
    """So many requests to the bucket get no answer when a hold is opened: health is what one process knows."""
    original = Hold.__init__

    def begin(self: Hold, **given: Any) -> None:
        original(self, **given)
        pool = self.poolset.get("cloud")
        remote_of(self).fail("stat", Unavailable("no route", store="cloud"), times=times)
        for _ in range(times):
            with pytest.raises(Unavailable):
                pool.driver.stat(Key("000/dataset_1.dat"))

    with mock.patch.object(Hold, "__init__", begin):
        yield
