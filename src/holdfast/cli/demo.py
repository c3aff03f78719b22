"""The demonstration's folder: the tutorial's two pools on disk, and a few small files in them.

    demo = prepare(Path("holdfast-demo"))        # writes what is missing, keeps what is there
    with holdfast.open(demo.document) as hold:
        login = furnish(hold, demo)              # adopts, stores, makes the administrator

Promises: everything lies in the folder; both functions can be called again and go on with what is there. The
reads and tables are made up, by arithmetic, and say so.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from holdfast.cli.commands.accounts import accounts_of

if TYPE_CHECKING:
    from holdfast.hold.hold import Hold

FOLDER = "holdfast-demo"
ADMIN = "admin@example.org"
OLD_DATASET_ID = 1
OLD_DATASET_NAME = "sample_sheet_2021.csv"
PASSWORD_BYTES = 8
_FURNISHED = "demo.furnished"

_OBJECT_STORE = """\
<?xml version="1.0"?>
<object_store type="hierarchical">
    <backends>
        <backend id="newdata" type="disk" order="0">
            <files_dir path="{home}/data2" />
            <extra_dir type="job_work" path="{home}/data2/job_work_dir" />
        </backend>
        <backend id="olddata" type="disk" order="1">
            <files_dir path="{home}/data" />
            <extra_dir type="job_work" path="{home}/data/job_work_dir" />
        </backend>
    </backends>
</object_store>
"""

_NOTES = """\
What lies here
==============

These datasets were made up for this demonstration. Two pools hold them, as in the
tutorial "Distributed Object Storage": newdata (the folder data2) takes what is new,
olddata (the folder data) is the old disk.

sample_sheet_2021.csv lay in olddata before Holdfast came: it was found by its id and
recorded where it is. Holdfast stored the others. Look at the Full Path of each, and at
the reason beside it.

Try: upload a file, run a job (wc -l {input1}), set newdata to read-only on the pools
page, and upload once more.
"""


@dataclass(frozen=True, slots=True)
class Demo:
    """Where the demonstration lies."""

    folder: Path

    @property
    def document(self) -> Path:
        """Its holdfast.yml."""
        return self.folder / "holdfast.yml"

    @property
    def state_dir(self) -> Path:
        """Its state directory."""
        return self.folder / "state"

    @property
    def login_file(self) -> Path:
        """The administrator's password, readable by the owner alone."""
        return self.folder / "login.txt"


@dataclass(frozen=True, slots=True)
class Login:
    """How to sign in. `password` is None when somebody has changed it since."""

    email: str
    password: str | None


def prepare(folder: Path) -> Demo:
    """Write the documents and the dataset that was there before, where they are missing."""
    from holdfast.config.write import starter_document

    demo = Demo(Path(os.path.abspath(folder)))
    is_new = not demo.document.exists()
    for name in ("data/000", "data2", "state"):
        (demo.folder / name).mkdir(mode=0o700 if name == "state" else 0o777, parents=True, exist_ok=True)
    if is_new:
        _write(demo.folder / "data" / "000" / f"dataset_{OLD_DATASET_ID}.dat", _sample_sheet(24))
        _write(demo.folder / "object_store_conf.xml", _OBJECT_STORE.format(home=_in_xml(demo.folder)))
        _write(demo.document, starter_document(object_store="object_store_conf.xml", state_dir="state"))
    return demo


def furnish(hold: Hold, demo: Demo) -> Login:
    """Adopt the old dataset, store the new ones and make the administrator, once. Returns the login."""
    accounts = accounts_of(hold)
    if not demo.login_file.exists():
        password = hold.entropy.token(PASSWORD_BYTES)
        _write_secret(demo.login_file, password)
    password = demo.login_file.read_text(encoding="utf-8").strip()
    if not accounts.has_any():
        accounts.create(ADMIN, password=password, is_admin=True)
    if hold.catalog.setting(_FURNISHED) is None:
        _store(hold)
        hold.catalog.set(_FURNISHED, "1")
    still_his = accounts.check_password(ADMIN, password) is not None
    return Login(ADMIN, password if still_his else None)


def _store(hold: Hold) -> None:
    from holdfast.catalog.base import Filter

    old = hold.find(OLD_DATASET_ID)
    hold.relabel(old.id, name=OLD_DATASET_NAME, labels={"made": "before Holdfast"})
    there = {dataset.name for dataset in hold.datasets(Filter(limit=50))}
    for name, content, labels in (
        ("patient_7_reads.fastq", _reads(400, seed=7), {"run": "7"}),
        ("patient_8_reads.fastq", _reads(250, seed=8), {"run": "8"}),
        ("measurements.csv", _measurements(96), {"plate": "A"}),
        ("what lies here.txt", _NOTES, {}),
    ):
        if name not in there:
            hold.put(content.encode(), name=name, owner=ADMIN, labels=labels)


# -- what is stored -----------------------------------------------------------------------------------------


class _Numbers:
    """The same arbitrary-looking numbers each time (a linear congruence): nothing here needs to be random."""

    def __init__(self, seed: int) -> None:
        self._state = seed * 2_654_435_761 % 2**32 or 1

    def below(self, limit: int) -> int:
        self._state = (self._state * 1_664_525 + 1_013_904_223) % 2**32
        return (self._state >> 8) % limit


def _reads(count: int, *, seed: int) -> str:
    """FASTQ: made-up reads of 75 bases, whose quality falls towards the end."""
    numbers = _Numbers(seed)
    records = []
    for at in range(1, count + 1):
        bases = "".join("ACGT"[numbers.below(4)] for _ in range(75))
        quality = "".join(chr(33 + 40 - place // 5 - numbers.below(4)) for place in range(75))
        records.append(f"@demo:{seed}:{at} made up\n{bases}\n+\n{quality}\n")
    return "".join(records)


def _measurements(count: int) -> str:
    """A plate of made-up absorbances."""
    numbers = _Numbers(96)
    rows = ["well,sample,absorbance_450nm"]
    for at in range(count):
        well = f"{'ABCDEFGH'[at // 12]}{at % 12 + 1:02}"
        rows.append(f"{well},S{at + 1:03},{0.05 + numbers.below(2500) / 1000:.3f}")
    return "\n".join(rows) + "\n"


def _sample_sheet(count: int) -> str:
    """An old table of made-up samples."""
    numbers = _Numbers(2021)
    rows = ["sample,collected,tissue,volume_ul"]
    for at in range(1, count + 1):
        month, day = numbers.below(12) + 1, numbers.below(28) + 1
        tissue = ("blood", "liver", "skin")[numbers.below(3)]
        rows.append(f"S{at:03},2021-{month:02}-{day:02},{tissue},{20 + numbers.below(180)}")
    return "\n".join(rows) + "\n"


def _in_xml(folder: Path) -> str:
    from xml.sax.saxutils import escape

    return escape(str(folder), {'"': "&quot;"})


def _write(path: Path, text: str) -> None:
    temporary = path.with_name(path.name + ".part")
    temporary.write_text(text, encoding="utf-8")
    os.replace(temporary, path)


def _write_secret(path: Path, text: str) -> None:
    temporary = path.with_name(path.name + ".part")
    temporary.unlink(missing_ok=True)
    descriptor = os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
        stream.write(text + "\n")
    os.replace(temporary, path)
