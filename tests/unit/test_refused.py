"""What lies in a pool and cannot be a blob is named, stops nothing, and is not recorded."""

from __future__ import annotations

import os
from pathlib import Path

from tests.unit.told import open_at, run


def test_an_adoption_goes_on_and_names_what_it_passes_over(tmp_path: Path):
    folder = tmp_path / "new/000"
    (folder / "dataset_5_files").mkdir(parents=True)
    (folder / "dataset_5.dat").write_bytes(b"five")
    (folder / "dataset_5_files/index").write_bytes(b"good")
    (folder / "dataset_5_files/two\nlines").write_bytes(b"bad")
    Path(os.fsdecode(os.fsencode(folder) + b"/dataset_5_files/\xff")).write_bytes(b"bad")
    (folder / "dataset_6.dat").symlink_to("/etc/hostname")
    (folder / "dataset_7.dat").symlink_to("nowhere")
    os.mkfifo(folder / "dataset_8.dat")
    (folder / "dataset_9.dat").write_bytes(b"nine")
    with open_at(tmp_path, "new") as hold:
        told = run(hold, "reconcile", adopt=True)
        assert told.counts["adopted"] == 2
        assert told.counts["refused"] == 5
        assert sorted(item for item, _ in told.failures) == [
            "new/000/dataset_5_files/\\xff",
            "new/000/dataset_5_files/two\nlines",
            "new/000/dataset_6.dat",
            "new/000/dataset_7.dat",
            "new/000/dataset_8.dat",
        ]
        assert [one.path for one in hold.extra_files(5)] == ["index"]
        assert run(hold, "scrub").failures == []
        assert hold.open(9).read() == b"nine"


def test_extra_files_behind_a_folders_link_are_recorded_once_and_a_purge_spares_what_it_leads_to(tmp_path: Path):
    folder = tmp_path / "new/000"
    for number in (5, 6):
        (folder / f"dataset_{number}_files/real").mkdir(parents=True)
        (folder / f"dataset_{number}.dat").write_bytes(b"%d" % number)
        (folder / f"dataset_{number}_files/real/page").write_bytes(b"page %d" % number)
    (folder / "dataset_5_files/alias").symlink_to("real")
    (folder / "dataset_5_files/other").symlink_to("../dataset_6_files/real")
    with open_at(tmp_path, "new") as hold:
        told = run(hold, "reconcile", adopt=True)
        assert [item for item, _ in told.failures] == ["new/000/dataset_5_files/alias"]
        assert [one.path for one in hold.extra_files(5)] == ["other/page", "real/page"]
        assert hold.open(5, extra_file="alias/page").read() == b"page 5"
        hold.remove(5, purge=True)
        assert not (folder / "dataset_5_files").exists()
        assert hold.open(6, extra_file="real/page").read() == b"page 6"
        assert run(hold, "scrub").failures == []
        assert run(hold, "reconcile").failures == []
