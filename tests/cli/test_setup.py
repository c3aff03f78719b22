"""init, check, config show, catalog upgrade, pools: what an administrator does first."""

from __future__ import annotations

import json
import os
import sqlite3

import pytest
from tests.cli.lab import Lab

GALAXY = """\
<?xml version="1.0"?>
<object_store type="hierarchical">
    <backends>
        <backend id="newdata" type="disk" order="0">
            <files_dir path="{home}/gx/data2" />
            <extra_dir type="job_work" path="{home}/gx/data2/job_work_dir" />
        </backend>
        <backend id="olddata" type="disk" order="1">
            <files_dir path="{home}/gx/data" />
            <extra_dir type="job_work" path="{home}/gx/data/job_work_dir" />
        </backend>
    </backends>
</object_store>
"""

S3_CHILD = """\
        <object_store id="swifty" type="swift" order="2">
            <auth access_key="key" secret_key="very secret" />
            <bucket name="galaxy" />
            <connection host="127.0.0.1" port="9091" is_secure="False" conn_path="" />
            <cache path="{home}/gx/cache" size="1000" />
            <extra_dir type="job_work" path="{home}/gx/jobs" />
            <extra_dir type="temp" path="{home}/gx/tmp" />
        </object_store>
    </backends>
"""
IRODS_CHILD = """\
        <object_store id="rods" type="irods" order="2">
            <auth username="rods" password="very secret" />
            <resource name="demoResc" />
            <zone name="tempZone" />
            <connection host="127.0.0.1" port="1247" />
            <extra_dir type="job_work" path="{home}/gx/jobs" />
        </object_store>
    </backends>
"""


@pytest.fixture
def galaxy(lab: Lab):
    return lab.file("gx/object_store_conf.xml", GALAXY.format(home=lab.home))


def test_init_makes_what_works_at_once(lab: Lab):
    answer = lab.json("init", "fresh")
    assert answer["pools"] == ["newdata", "olddata"]
    os.chdir(lab.home / "fresh")
    assert lab.call("check").code == 0
    assert lab.json("put", lab.file("reads.fastq"))["object_store_id"] == "newdata"
    assert (lab.home / "fresh/holdfast-state/catalog.sqlite").exists()
    assert (lab.home / "fresh/holdfast-state").stat().st_mode & 0o777 == 0o700
    text = (lab.home / "fresh/holdfast.yml").read_text()
    assert text.count("\n# ") > 5, "it is commented"


def test_init_over_a_galaxy_file(lab: Lab, galaxy):
    assert lab.json("init", "lab", "--from", galaxy)["pools"] == ["newdata", "olddata"]
    os.chdir(lab.home / "lab")
    assert lab.json("put", lab.file("reads.fastq"))["full_path"] == f"{lab.home}/gx/data2/000/dataset_1.dat"


def test_init_beside_the_galaxy_file_names_it_relatively(lab: Lab, galaxy):
    lab.json("init", lab.home / "gx", "--from", galaxy)
    assert "object_store: object_store_conf.xml\n" in (lab.home / "gx/holdfast.yml").read_text()


def test_init_never_overwrites(lab: Lab):
    before = (lab.home / "holdfast.yml").read_bytes()
    answer = lab.call("init")
    assert answer.code == 8
    assert "there already" in answer.err
    assert (lab.home / "holdfast.yml").read_bytes() == before
    assert not (lab.home / "holdfast-state").exists()


def test_init_over_a_broken_file_writes_nothing(lab: Lab, galaxy):
    galaxy.write_text(galaxy.read_text().replace('type="disk"', 'type="dsk"'))
    answer = lab.call("init", "lab", "--from", galaxy)
    assert answer.code == 2
    assert "object_store_conf.xml:4:" in answer.err
    assert not (lab.home / "lab").exists()


def test_check_proves_each_pool_and_leaves_nothing(lab: Lab):
    lab.put("reads.fastq")
    before = sorted(path for pool in ("data", "data2") for path in (lab.home / pool).rglob("*"))
    answer = lab.json("check")
    assert answer["ok"] is True
    assert [pool["object_store_id"] for pool in answer["pools"]] == ["newdata", "olddata"]
    assert sorted(path for pool in ("data", "data2") for path in (lab.home / pool).rglob("*")) == before


def test_check_says_which_pool_cannot_be_used(lab: Lab):
    lab.call("pools")
    (lab.home / "data").rename(lab.home / "unmounted")
    (lab.home / "data").mkdir()
    answer = lab.call("check")
    assert answer.code == 6
    assert "olddata  error" in answer.out
    assert "mounted" in answer.out
    assert "1 of 2 pools cannot be used" in answer.out
    assert list((lab.home / "data").iterdir()) == [], "nothing was made in the empty mount point"
    assert lab.call("check", "--json").json["ok"] is False


def test_a_pool_that_holds_nothing_and_got_another_folder_is_told_the_way_out(lab: Lab):
    assert lab.call("check").code == 0
    document = lab.home / "holdfast.yml"
    document.write_text(document.read_text().replace("files_dir: data,", "files_dir: elsewhere,"))
    (lab.home / "elsewhere").mkdir()
    answer = lab.call("check")
    assert answer.code == 6
    assert "If you gave this pool, which holds no dataset, another folder: move .holdfast-pool there" in answer.out
    (lab.home / "data" / ".holdfast-pool").rename(lab.home / "elsewhere" / ".holdfast-pool")
    assert lab.call("check").code == 0


def test_a_pool_that_holds_datasets_is_not_told_to_move_its_mark(lab: Lab):
    assert lab.call("put", lab.file("a.txt", "a")).code == 0
    (lab.home / "data2").rename(lab.home / "away")
    (lab.home / "data2").mkdir()
    answer = lab.call("check")
    assert (answer.code, "move .holdfast-pool" in answer.out) == (6, False)
    assert "is it mounted?" in answer.out


def test_check_finds_one_folder_under_two_names(lab: Lab):
    (lab.home / "data2").mkdir(exist_ok=True)
    (lab.home / "data").symlink_to("data2")
    answer = lab.call("check")
    assert answer.code == 6
    assert f"the folder of pool newdata under another name ({lab.home}/data2)" in answer.out
    assert "1 of 2 pools cannot be used" in answer.out


def test_a_file_where_a_pools_folder_should_be_is_said_by_whoever_needs_it(lab: Lab):
    pool = lab.home / "data2"
    pool.write_bytes(b"a file")
    said = f"{pool} is a file, not a folder; write the path of a folder as its files_dir"
    answer = lab.call("put", "--pool", "newdata", lab.file("reads.fastq"))
    assert answer.code == 6
    assert said in answer.err
    assert said in lab.call("pool", "show", "newdata").out
    assert said in lab.call("check").out
    lab.json("put", lab.file("other.fastq"))
    assert lab.stored().keys() == {"data/000/dataset_1.dat"}
    assert pool.read_bytes() == b"a file"


def test_check_of_a_type_without_driver(lab: Lab, galaxy):
    galaxy.write_text(galaxy.read_text().replace("    </backends>\n", IRODS_CHILD.format(home=lab.home)))
    answer = lab.call("check", "--config", galaxy)
    assert "rods" in answer.out
    assert "is not there yet" in answer.out
    assert "very secret" not in answer.out + answer.err


def test_check_names_what_has_no_effect(lab: Lab, galaxy):
    galaxy.write_text(galaxy.read_text().replace('order="0"', 'order="0" maxpctfull="90"'))
    answer = lab.call("check", "--config", galaxy)
    assert "object_store_conf.xml:4" in answer.out
    assert "maxpctfull" in answer.out
    assert any(problem["line"] == 4 for problem in lab.call("check", "--config", galaxy, "--json").json["problems"])


def test_a_pool_with_another_id_is_offered_as_a_rename(lab: Lab):
    shape = lab.put("reads.fastq", b"ACGT")
    document = lab.home / "holdfast.yml"
    document.write_text(document.read_text().replace("newdata:", "fastdata:"))
    answer = lab.call("check")
    assert "holdfast pool rename newdata fastdata" in answer.out
    assert lab.call("get", "1", "-o", "x").code == 6
    renamed = lab.json("pool", "rename", "newdata", "fastdata")
    assert (renamed["object_store_id"], renamed["datasets"]) == ("fastdata", 1)
    found = lab.json("show", "1")
    assert (found["object_store_id"], found["full_path"]) == ("fastdata", shape["full_path"])
    assert lab.json("get", "1", "-o", lab.home / "x")["size_bytes"] == 4
    assert [pool["object_store_id"] for pool in lab.json("pools")] == ["fastdata", "olddata"]
    assert lab.call("check").code == 0


def test_pool_rename_refuses_what_the_document_does_not_say(lab: Lab):
    lab.put("reads.fastq")
    assert lab.call("pool", "rename", "newdata", "olddata").code == 8
    assert lab.call("pool", "rename", "newdata", "nowhere").code == 3
    assert lab.json("show", "1")["object_store_id"] == "newdata"


def test_config_show_is_the_document_in_our_spelling(lab: Lab, galaxy):
    galaxy.write_text(galaxy.read_text().replace("    </backends>\n", S3_CHILD.format(home=lab.home)))
    shown = lab.call("config", "show", "--config", galaxy)
    assert shown.code == 0
    assert "very secret" not in shown.out
    assert "store_by" not in shown.out
    expanded = lab.call("config", "show", "--expanded", "--config", galaxy)
    assert "store_by: id" in expanded.out
    assert "very secret" not in expanded.out
    document = lab.json("config", "show", "--config", galaxy)
    assert document["pools"]["newdata"]["files_dir"] == f"{lab.home}/gx/data2"
    assert not (lab.home / "gx/data2").exists(), "to show a document touches no pool"


@pytest.mark.parametrize("options", [[], ["--expanded"]])
def test_config_show_can_be_read_again(lab: Lab, options):
    text = lab.call("config", "show", *options).out
    (lab.home / "again.yml").write_text(text)
    first = lab.json("config", "show", "--expanded")
    assert lab.json("config", "show", "--expanded", "--config", "again.yml") == first


def test_pools_shows_what_lies_where(lab: Lab):
    lab.put("reads.fastq", b"x" * 5000)
    lab.put("more.fastq", b"x" * 3000, "--pool", "olddata")
    pools = lab.json("pools")
    assert [(pool["object_store_id"], pool["datasets"], pool["used_bytes"]) for pool in pools] == [
        ("newdata", 1, 5000),
        ("olddata", 1, 3000),
    ]
    members = {
        "object_store_id", "type", "name", "state", "order", "weight", "datasets", "used_bytes",
        "reserved_bytes", "capacity_bytes", "free_bytes", "percent_full", "max_percent_full", "private", "reachable",
    }  # fmt: skip
    assert members <= pools[0].keys()
    head, first, _ = lab.call("pools").out.splitlines()
    assert head.split()[:5] == ["POOL", "TYPE", "STATE", "DATASETS", "USED"]
    assert first[: head.index("USED") + 4].endswith(" 4.9 KiB"), "sizes stand right-aligned under their heading"


def test_pool_set_holds_for_the_next_put(lab: Lab):
    lab.begin()
    assert lab.json("pool", "set", "newdata", "--state", "read-only")["state"] == "read-only"
    assert lab.put("reads.fastq")["object_store_id"] == "olddata"
    assert "read-only" in lab.call("explain", "1").out
    assert lab.json("pool", "set", "newdata", "--state", "active")["state"] == "active"
    assert lab.put("more.fastq")["object_store_id"] == "newdata"
    assert "State     active" in lab.call("pool", "show", "newdata").out


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["show", "nopool"], 3),
        (["set", "nopool", "--state", "active"], 3),
        (["set", "newdata", "--state", "closed"], 2),
        (["set", "newdata"], 2),
        (["show"], 2),
    ],
)
def test_pool_refuses(lab: Lab, arguments, code):
    lab.begin()
    answer = lab.call("pool", *arguments)
    assert (answer.code, answer.out) == (code, "")


def test_catalog_upgrade(lab: Lab):
    first = lab.json("catalog", "upgrade")
    assert first["from"] is None
    assert lab.json("catalog", "upgrade") == {"from": first["to"], "to": first["to"]}
    lab.put("reads.fastq")
    with sqlite3.connect(lab.home / "state/catalog.sqlite") as database:
        database.execute("UPDATE alembic_version SET version_num = '9999'")
    answer = lab.call("ls")
    assert answer.code == 2
    assert "newer Holdfast" in answer.err


def test_a_full_pool_is_no_space(lab: Lab):
    document = lab.home / "holdfast.yml"
    document.write_text(document.read_text().replace("order: ", "capacity: 4 KiB, order: "))
    answer = lab.call("put", lab.file("big.bin", b"x" * 5000))
    assert answer.code == 4
    assert json.loads(lab.call("put", "big.bin", "--json").err)["status"] == 507
    assert lab.stored() == {}
