"""put, ls, show, path, get, replace, rm, restore, explain: looked at on the disk, not only in answers."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess

import blake3
import pytest
from tests.cli.lab import ENVIRONMENT, Lab

DATASET_MEMBERS = {
    "id", "uuid", "name", "owner", "state", "size_bytes", "total_bytes", "checksum", "created",
    "object_store_id", "full_path", "replicas", "placement", "labels",
}  # fmt: skip


def test_put_stores_the_bytes_in_the_first_pool(lab: Lab):
    shape = lab.put("reads.fastq", b"@r\nACGT\n+\nIIII\n", "--user", "alice@example.org", "--label", "run=7")
    assert shape.keys() >= DATASET_MEMBERS
    assert (shape["id"], shape["name"], shape["owner"]) == (1, "reads.fastq", "alice@example.org")
    assert shape["object_store_id"] == "newdata"
    assert shape["labels"] == {"run": "7"}
    assert shape["checksum"] == "blake3:" + blake3.blake3(b"@r\nACGT\n+\nIIII\n").hexdigest()
    assert shape["full_path"] == str(lab.home / "data2/000/dataset_1.dat")
    assert lab.stored() == {"data2/000/dataset_1.dat": b"@r\nACGT\n+\nIIII\n"}
    assert [verdict["object_store_id"] for verdict in shape["placement"] if verdict["chosen"]] == ["newdata"]


def test_put_says_what_it_did(lab: Lab):
    answer = lab.call("put", lab.file("reads.fastq", b"x" * 2048))
    assert (answer.code, answer.err) == (0, "")
    assert answer.out == "stored dataset 1 in newdata: reads.fastq (2.0 KiB)\n"


def test_put_reads_standard_input(lab: Lab):
    answer = lab.program("put", "-", "--name", "piped.txt", "--json", stdin=b"through a pipe")
    assert (answer.code, answer.err) == (0, "")
    assert answer.json["name"] == "piped.txt"
    assert lab.stored() == {"data2/000/dataset_1.dat": b"through a pipe"}


def test_put_of_standard_input_without_a_name_has_one(lab: Lab):
    assert lab.program("put", "-", "--json", stdin=b"x").json["name"] == "stdin"


def test_put_many_is_an_array_in_the_order_given(lab: Lab):
    files = [lab.file(f"part{at}.txt", f"part {at}") for at in (3, 1, 2)]
    shapes = lab.json("put", *files, "--pool", "olddata")
    assert [shape["name"] for shape in shapes] == ["part3.txt", "part1.txt", "part2.txt"]
    assert sorted(lab.stored().values()) == [b"part 1", b"part 2", b"part 3"]
    assert all(name.startswith("data/") for name in lab.stored())


def test_put_with_extra_files(lab: Lab):
    lab.file("extra/index.bai", b"index")
    lab.file("extra/deep/er/plot.png", b"picture")
    shape = lab.json("put", lab.file("reads.bam", b"bam"), "--extra-files", lab.home / "extra")
    assert (shape["size_bytes"], shape["total_bytes"]) == (3, 15)
    folder = lab.home / "data2/000/dataset_1_files"
    assert (folder / "index.bai").read_bytes() == b"index"
    assert (folder / "deep/er/plot.png").read_bytes() == b"picture"
    assert "deep/er/plot.png (7 B)" in lab.call("show", "1").out
    assert lab.json("path", "1", "--extra-file", "index.bai")["path"] == str(folder / "index.bai")


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["nowhere.txt"], 3, "nowhere.txt"),
        (["."], 2, "not a regular file"),
        (["here.txt", "--pool", "nopool"], 3, "nopool"),
        (["here.txt", "--label", "novalue"], 2, "--label run=7"),
        (["here.txt", "--label", "run=7", "--label", "run=8"], 2, "run is 7 already; a label has one value"),
        (["here.txt", "here.txt", "--name", "one"], 2, "--name belongs to one file"),
        (["-", "-"], 2, "once"),
        (["here.txt", "--name", "a\nb"], 2, "control character"),
        (["here.txt", "--extra-files", "nofolder"], 3, "nofolder"),
        (["here.txt", "--frobnicate"], 2, "--frobnicate"),
        ([], 2, "FILE"),
    ],
)
def test_put_refuses(lab: Lab, arguments, code, words):
    lab.file("here.txt")
    answer = lab.call("put", *arguments)
    assert answer.code == code
    assert words in answer.err
    assert answer.err.count("\n") == 1, "one clear sentence"
    assert answer.out == ""
    assert lab.stored() == {}


def test_put_of_several_stores_none_if_one_is_missing(lab: Lab):
    answer = lab.call("put", lab.file("here.txt"), "nowhere.txt")
    assert answer.code == 3
    assert lab.stored() == {}


def test_ls_lists_newest_first_and_pages(lab: Lab):
    for at in range(1, 6):
        lab.put(f"f{at}.txt", f"{at}")
    assert [shape["id"] for shape in lab.json("ls", "--limit", "2")] == [5, 4]
    assert [shape["id"] for shape in lab.json("ls", "--limit", "2", "--after", "4")] == [3, 2]
    first_page = lab.call("ls", "--limit", "2")
    assert "--after 4" in first_page.err
    lines = first_page.out.splitlines()
    assert lines[0].split() == ["ID", "NAME", "SIZE", "STATE", "POOL", "OWNER", "CREATED"]
    assert lines[1].split()[:2] == ["5", "f5.txt"]


def test_ls_filters(lab: Lab):
    lab.put("mine.txt", "1", "--user", "alice@example.org")
    lab.put("theirs.txt", "2", "--user", "bob@example.org", "--pool", "olddata")
    assert [shape["name"] for shape in lab.json("ls", "--user", "bob@example.org")] == ["theirs.txt"]
    assert [shape["name"] for shape in lab.json("ls", "--pool", "newdata")] == ["mine.txt"]
    assert [shape["name"] for shape in lab.json("ls", "--name", "THEIR")] == ["theirs.txt"]
    lab.json("rm", "1")
    assert [shape["name"] for shape in lab.json("ls")] == ["theirs.txt"]
    assert [shape["name"] for shape in lab.json("ls", "--state", "deleted")] == ["mine.txt"]


def test_ls_by_label(lab: Lab):
    labels = ("--label", "project=apollo", "--label")
    apollo = [lab.put(f"a{at}", "x", *labels, f"run={at}")["id"] for at in range(2)]
    lab.put("plain", "x")
    assert [one["id"] for one in lab.json("ls", "--label", "project=apollo")] == apollo[::-1]
    assert [one["id"] for one in lab.json("ls", *labels, "run=0")] == apollo[:1]
    assert lab.json("ls", "--label", "project=gemini") == []
    table = lab.call("ls").out
    assert "LABELS" in table
    assert "project=apollo, run=1" in table
    refused = lab.call("ls", "--label", "project")
    assert refused.code == 2
    assert "--label run=7" in refused.err


def test_ls_of_nothing_says_what_to_do(lab: Lab):
    lab.begin()
    assert "holdfast put" in lab.call("ls").out
    assert lab.json("ls") == []


def test_show_tells_everything(lab: Lab):
    shape = lab.put("reads.fastq", b"x" * 3000, "--user", "alice@example.org", "--label", "run=7")
    answer = lab.call("show", shape["uuid"])
    for text in (
        shape["uuid"], "reads.fastq", "alice@example.org", "2.9 KiB (3,000 bytes)", shape["checksum"],
        "run=7", str(lab.home / "data2/000/dataset_1.dat"), "newdata: 000/dataset_1.dat, present", "Full Path",
        "Why it is here", "order 0",
    ):  # fmt: skip
        assert text in answer.out, text
    assert lab.json("show", "1") == lab.json("show", shape["uuid"])


@pytest.mark.parametrize(
    ("dataset", "code"),
    [("9", 3), ("0", 2), ("-1", 2), ("-12", 2), (str(2**63), 2), ("abc", 2), ("", 2),
     ("00000000-0000-4000-8000-000000000000", 3)],
)  # fmt: skip
@pytest.mark.parametrize("command", ["show", "path", "get", "explain", "rm", "restore"])
def test_a_dataset_that_is_none(lab: Lab, command, dataset, code):
    lab.begin()
    answer = lab.call(command, dataset)
    assert answer.code == code, answer.err
    assert answer.err.count("\n") == 1
    assert "option" not in answer.err, "not a puzzle about options"


def test_a_negative_id_behind_two_dashes(lab: Lab):
    lab.begin()
    answer = lab.call("show", "--", "-1")
    assert answer.code == 2
    assert "ids go from 1" in answer.err


def test_path_is_where_the_bytes_are(lab: Lab):
    lab.put("reads.fastq", b"ACGT")
    answer = lab.call("path", "1")
    assert (answer.code, answer.out) == (0, f"{lab.home}/data2/000/dataset_1.dat\n")


def test_data_that_was_there_before_is_found(lab: Lab):
    lab.begin()
    (lab.home / "data/000").mkdir(parents=True)
    (lab.home / "data/000/dataset_7.dat").write_bytes(b"old")
    shape = lab.json("show", "7")
    assert shape["object_store_id"] == "olddata"
    assert shape["full_path"] == str(lab.home / "data/000/dataset_7.dat")


def test_get_writes_under_its_name(lab: Lab):
    lab.put("reads.fastq", b"ACGT" * 1000)
    answer = lab.json("get", "1")
    assert answer["path"] == "reads.fastq"
    assert (lab.home / "reads.fastq").read_bytes() == b"ACGT" * 1000


def test_get_never_replaces_what_was_not_named(lab: Lab):
    lab.put("reads.fastq", b"ACGT")
    lab.file("reads.fastq", b"mine")
    answer = lab.call("get", "1")
    assert answer.code == 8
    assert "-o" in answer.err
    assert (lab.home / "reads.fastq").read_bytes() == b"mine"
    assert lab.call("get", "1", "-o", "reads.fastq").code == 0
    assert (lab.home / "reads.fastq").read_bytes() == b"ACGT"


def test_get_leaves_the_target_as_it_was_when_it_fails(lab: Lab):
    lab.put("reads.fastq", b"ACGT" * 100)
    stored = lab.home / "data2/000/dataset_1.dat"
    stored.chmod(0o644)
    stored.write_bytes(b"GCGT" * 100)  # damaged behind Holdfast's back
    target = lab.file("target.txt", b"mine")
    answer = lab.call("get", "1", "-o", target)
    assert answer.code == 5, answer.err
    assert target.read_bytes() == b"mine"
    assert {path.name for path in lab.home.iterdir() if path.name.startswith(".")} == set(), "no leftovers"


@pytest.mark.parametrize(
    ("name", "local"),
    [
        ("../../etc/passwd", "_.._etc_passwd"),
        ("/etc/passwd", "_etc_passwd"),
        (".bashrc", "bashrc"),
        ("-rf", "rf"),
        ("..", "dataset_1.dat"),
        ("a b (1).txt", "a b (1).txt"),
        ("Übersicht 表.csv", "Übersicht 表.csv"),
        ("x" * 250 + ".txt", "x" * 250 + ".txt"),
    ],
)
def test_get_makes_names_safe(lab: Lab, name, local):
    lab.json("put", lab.file("source.txt", b"bytes"), "--name", name)
    (lab.home / "out").mkdir()
    os.chdir(lab.home / "out")
    answer = lab.call("get", "1", "--json", "--config", lab.home / "holdfast.yml", "--state", lab.home / "state")
    assert answer.code == 0, answer.err
    assert [path.name for path in (lab.home / "out").iterdir()] == [local]


def test_get_into_a_folder(lab: Lab):
    lab.put("reads.fastq", b"ACGT")
    (lab.home / "out").mkdir()
    lab.json("get", "1", "-o", lab.home / "out")
    assert (lab.home / "out/reads.fastq").read_bytes() == b"ACGT"


def test_get_to_standard_output(lab: Lab):
    content = hashlib.sha256(b"seed").digest() * 50_000
    lab.put("blob.bin", content)
    for option, expected in (((), content), (("--range", "100-1000099"), content[100:1_000_100])):
        command = lab.command("get", "1", "-o", "-", *option)
        done = subprocess.run(command, cwd=lab.home, env=ENVIRONMENT, capture_output=True, check=True)
        assert done.stdout == expected
        assert done.stderr == b""


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0-9", b"0123456789"),
        ("10-10", b"a"),
        ("30-", b"uvwxyz"),
        ("-3", b"xyz"),
        ("34-99", b"yz"),
        ("0-", None),
    ],
)
def test_get_a_range(lab: Lab, text, expected):
    content = b"0123456789abcdefghijklmnopqrstuvwxyz"
    lab.put("text.txt", content)
    answer = lab.json("get", "1", "-o", lab.home / "part", "--range", text)
    assert (lab.home / "part").read_bytes() == (content if expected is None else expected)
    assert answer["size_bytes"] == len((lab.home / "part").read_bytes())


@pytest.mark.parametrize("text", ["9-1", "36-40", "a-b", "-", "1", "0x1-2", "--5"])
def test_get_refuses_ranges_that_are_none(lab: Lab, text):
    lab.put("text.txt", b"0123456789abcdefghijklmnopqrstuvwxyz")
    answer = lab.call("get", "1", "-o", lab.home / "part", "--range", text)
    assert answer.code == 2
    assert not (lab.home / "part").exists()


def test_get_refuses_bytes_and_json_on_one_stdout(lab: Lab):
    lab.put("text.txt")
    answer = lab.call("get", "1", "-o", "-", "--json")
    assert (answer.code, answer.out) == (2, "")


def test_replace_gives_new_bytes(lab: Lab):
    before = lab.put("reads.fastq", b"old")
    after = lab.json("replace", "1", lab.file("corrected.fastq", b"newer"))
    assert (after["id"], after["uuid"], after["name"]) == (1, before["uuid"], "reads.fastq")
    assert after["checksum"] == "blake3:" + blake3.blake3(b"newer").hexdigest()
    assert lab.stored() == {"data2/000/dataset_1.dat": b"newer"}


def test_rm_keeps_the_bytes_until_purge(lab: Lab):
    lab.put("reads.fastq", b"ACGT")
    assert lab.json("rm", "1")["state"] == "deleted"
    assert lab.stored() == {"data2/000/dataset_1.dat": b"ACGT"}
    assert lab.call("get", "1", "-o", "x").code == 3
    assert lab.json("restore", "1")["state"] == "ok"
    assert lab.json("rm", "1", "--purge")["state"] == "purged"
    assert lab.stored() == {}
    assert lab.call("restore", "1").code in (3, 8)


def test_rm_of_several_stops_before_it_begins(lab: Lab):
    lab.put("a.txt")
    lab.put("b.txt")
    assert lab.call("rm", "1", "99", "2").code == 3
    assert [shape["state"] for shape in lab.json("ls")] == ["ok", "ok"]
    assert [shape["state"] for shape in lab.json("rm", "1", "2")] == ["deleted", "deleted"]


def test_explain_a_dataset(lab: Lab):
    lab.put("reads.fastq")
    answer = lab.call("explain", "1")
    assert "is in newdata" in answer.out
    assert "->  newdata  order 0" in answer.out
    shape = lab.json("explain", "1")
    assert shape["placement"][0]["chosen"] is True


def test_explain_and_show_of_what_was_removed_and_purged(lab: Lab):
    lab.put("a.txt", "a")
    assert lab.call("rm", "1").code == 0
    assert "a.txt (dataset 1) is in newdata, and was removed" in lab.call("explain", "1").out
    assert lab.call("rm", "1", "--purge").code == 0
    assert "a.txt (dataset 1) was in newdata, and was purged" in lab.call("explain", "1").out
    assert "Full Path  none: it was purged" in lab.call("show", "1").out


def test_explain_a_put_that_would_be(lab: Lab):
    lab.begin()
    assert lab.json("explain", "--put", "1KiB")["object_store_id"] == "newdata"
    lab.json("pool", "set", "newdata", "--state", "read-only")
    shape = lab.json("explain", "--put", "1 KiB", "--user", "alice@example.org")
    assert (shape["object_store_id"], shape["size_bytes"]) == ("olddata", 1024)
    reasons = {verdict["object_store_id"]: verdict["reason"] for verdict in shape["placement"]}
    assert "read-only" in reasons["newdata"]
    assert lab.json("explain", "--put", "7EiB")["object_store_id"] is None
    assert lab.stored() == {}


@pytest.mark.parametrize("arguments", [[], ["1", "--put", "1KiB"], ["--put", "huge"], ["--put", "10X"]])
def test_explain_refuses(lab: Lab, arguments):
    assert lab.call("explain", *arguments).code == 2


def test_a_pool_that_left_the_document_keeps_its_datasets(lab: Lab):
    lab.put("reads.fastq")
    (lab.home / "holdfast.yml").write_text(
        (lab.home / "holdfast.yml").read_text().replace("  newdata: {type: disk, files_dir: data2, order: 0}\n", "")
    )
    shape = lab.json("show", "1")
    assert shape["object_store_id"] == "newdata"
    assert lab.call("get", "1", "-o", "x").code == 6
    assert json.loads(lab.call("pools", "--json").out)[-1]["configured"] is False


def test_ls_of_a_pool_that_is_none(lab: Lab):
    lab.put("a.txt")
    answer = lab.call("ls", "--pool", "nope")
    assert (answer.code, answer.out) == (3, "")
    assert "holdfast pools" in answer.err


def test_ls_behind_the_end_does_not_say_that_nothing_is_stored(lab: Lab):
    lab.put("a.txt")
    assert lab.call("ls", "--after", "1").out == "No dataset is like that.\n"


def test_rm_of_what_was_purged_says_so(lab: Lab):
    lab.put("a.txt")
    assert lab.call("rm", "1", "--purge").out.startswith("purged dataset 1")
    for arguments in (("rm", "1"), ("rm", "1", "--purge")):
        answer = lab.call(*arguments)
        assert answer.code == 0
        assert answer.out.startswith("purged before: dataset 1")


def test_a_file_name_that_cannot_be_a_dataset_name_asks_for_another(lab: Lab):
    answer = lab.call("put", lab.file("a\nb"))
    assert answer.code == 2
    assert "--name NAME" in answer.err
    assert lab.json("put", lab.home / "a\nb", "--name", "ab")["name"] == "ab"


def test_put_for_an_owner_without_an_account_warns_where_there_are_accounts(lab: Lab):
    file = lab.file("a.txt")
    assert lab.call("put", file, "--user", "alcie@example.org").err == ""
    lab.call("user", "add", "alice@example.org")
    assert lab.call("put", file, "--user", "alice@example.org").err == ""
    answer = lab.call("put", file, "--user", "alcie@example.org")
    assert (answer.code, answer.out.split(":")[0]) == (0, "stored dataset 3 in newdata")
    assert "no account has the address alcie@example.org" in answer.err


def test_a_purge_that_waits_for_its_pool_says_so(lab: Lab):
    lab.put("reads.fastq")
    lab.call("pool", "set", "newdata", "--state", "read-only")
    answer = lab.call("rm", "1", "--purge")
    assert answer.code == 0
    assert answer.err == (
        "dataset 1: Its bytes are still there: those in newdata wait until pool newdata is active again. "
        "A reap takes them away then.\n"
    )
    assert list(lab.stored()) == ["data2/000/dataset_1.dat"]


def test_put_of_standard_input_whose_size_is_announced(lab: Lab):
    document = lab.home / "holdfast.yml"
    document.write_text(document.read_text().replace("files_dir: data2,", "files_dir: data2, capacity: 3 MiB,"))
    answer = lab.program("put", "-", "--name", "x", stdin=bytes(4_000_000))
    assert answer.code == 4
    assert "pool newdata had room when the upload began, and filled up after" in answer.err
    assert "put --size" in answer.err
    answer = lab.program("put", "-", "--name", "x", "--size", "4000000", "--json", stdin=bytes(4_000_000))
    assert (answer.code, answer.json["object_store_id"]) == (0, "olddata"), answer.err
    assert lab.program("put", "-", "--name", "y", "--size", "9", stdin=b"0123456789").code != 0, "it brought more"
    assert list(lab.stored().values()) == [bytes(4_000_000)]
    assert lab.call("put", lab.file("a"), "--size", "5").code == 2
    assert lab.call("put", "-", "--size", "many").code == 2
