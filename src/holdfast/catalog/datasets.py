"""Reading what the catalog knows of datasets. Finding one costs one query, whatever the number of pools."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from sqlalchemy import FromClause, Select, and_, bindparam, func, select

from holdfast.catalog import schema
from holdfast.catalog.base import Dataset, ExtraFile, Filter, Replica, Row
from holdfast.catalog.database import Cursor, Database, Statement, any_of
from holdfast.errors import InvalidKey
from holdfast.keys import Key
from holdfast.layout import ID_MAX

LIST_MAX = 1000
LABELS_ASKED_MAX = 8
_DATASET, _REPLICA, _DECISION, _EXTRA = schema.dataset, schema.replica, schema.decision, schema.extra_file

_DATASET_COLUMNS = (
    _DATASET.c.id, _DATASET.c.uuid, _DATASET.c.name, _DATASET.c.owner, _DATASET.c.state, _DATASET.c.size_bytes,
    _DATASET.c.total_bytes, _DATASET.c.checksum, _DATASET.c.object_store_id, _DATASET.c.created_us,
    _DATASET.c.updated_us, _DATASET.c.origin, _DATASET.c.job_id, _DATASET.c.note, _DATASET.c.deleted_us,
    _DATASET.c.labels,
)  # fmt: skip
_REPLICA_COLUMNS = (
    _REPLICA.c.object_store_id, _REPLICA.c.state, _REPLICA.c.key, _REPLICA.c.size_bytes, _REPLICA.c.version,
    _REPLICA.c.verified_us, _REPLICA.c.note,
)  # fmt: skip
_WIDTH = len(_DATASET_COLUMNS)
_DATASET_FIELDS = tuple("labels_json" if column.name == "labels" else column.name for column in _DATASET_COLUMNS)


class DatasetLedger:
    """Rows of `dataset` with their replicas. Reads only; `writes` and `fates` change them."""

    def __init__(self, db: Database) -> None:
        self._db = db
        joined = (
            select(*_DATASET_COLUMNS, *_REPLICA_COLUMNS, _DECISION.c.choices)
            .select_from(
                _DATASET.outerjoin(_REPLICA, _REPLICA.c.dataset_id == _DATASET.c.id).outerjoin(
                    _DECISION, _DECISION.c.dataset_id == _DATASET.c.id
                )
            )
            .order_by(_REPLICA.c.created_us)
        )
        self._by_id = db.statement(joined.where(_DATASET.c.id == bindparam("id")))
        self._by_uuid = db.statement(joined.where(_DATASET.c.uuid == bindparam("uuid")))
        self._locate = db.statement(
            select(
                _DATASET.c.state, _REPLICA.c.object_store_id, _REPLICA.c.state, _REPLICA.c.key, schema.pool.c.state,
                _REPLICA.c.version, _DATASET.c.checksum,
            )
            .select_from(
                _DATASET.outerjoin(_REPLICA, _REPLICA.c.dataset_id == _DATASET.c.id).outerjoin(
                    schema.pool, schema.pool.c.object_store_id == _REPLICA.c.object_store_id
                )
            )
            .where(_DATASET.c.id == bindparam("id"))
        )  # fmt: skip
        self._exists = db.statement(select(_DATASET.c.id).where(_DATASET.c.id == bindparam("id")))
        self._by_key = db.statement(
            select(_REPLICA.c.dataset_id, _REPLICA.c.state, _REPLICA.c.size_bytes)
            .where(_REPLICA.c.object_store_id == bindparam("pool"))
            .where(_REPLICA.c.key == bindparam("key"))
        )
        self._extras = db.statement(
            select(_EXTRA.c.path, _EXTRA.c.size_bytes, _EXTRA.c.checksum)
            .where(_EXTRA.c.dataset_id == bindparam("id"))
        )
        keys = (
            select(_REPLICA.c.dataset_id, *_REPLICA_COLUMNS)
            .where(_REPLICA.c.object_store_id == bindparam("pool"))
            .where(_REPLICA.c.key > bindparam("after"))
            .order_by(_REPLICA.c.key)
        )
        self._keys_to_end = db.statement(keys)
        self._keys_between = db.statement(keys.where(_REPLICA.c.key <= bindparam("last")))
        self._standing = db.statement(
            select(_REPLICA.c.object_store_id, func.sum(_REPLICA.c.size_bytes))
            .where(any_of(_REPLICA.c.state, ("present", "suspect", "missing")))
            .group_by(_REPLICA.c.object_store_id)
        )
        self._lists: dict[frozenset[str], Statement] = {}  # by what is asked for
        self._replicas: dict[int, Statement] = {}  # by the number of datasets, at most LIST_MAX

    def find(self, dataset_id: int) -> Dataset | None:
        """Everything that is known of a dataset, in one query; None if the catalog has no such id."""
        with self._db.read() as cursor:
            return _dataset(self._by_id.all(cursor, {"id": dataset_id}))

    def find_uuid(self, uuid: str) -> Dataset | None:
        """The same by its uuid (lower case, with dashes)."""
        with self._db.read() as cursor:
            return _dataset(self._by_uuid.all(cursor, {"uuid": uuid}))

    def find_in(self, cursor: Cursor, dataset_id: int) -> Dataset | None:
        """The same within a transaction."""
        return _dataset(self._by_id.all(cursor, {"id": dataset_id}))

    def locate(self, dataset_id: int) -> list[Row]:
        """(dataset state, pool, replica state, key, pool state, version, checksum) of each replica: the hot path of
        every read."""
        with self._db.read() as cursor:
            return self._locate.all(cursor, {"id": dataset_id})

    def exists_in(self, cursor: Cursor, dataset_id: int) -> bool:
        """Whether the id was ever given out or adopted."""
        return self._exists.one(cursor, {"id": dataset_id}) is not None

    def by_key(self, object_store_id: str, key: str) -> tuple[int, str, int] | None:
        """(dataset id, replica state, bytes) of what should lie under a key."""
        with self._db.read() as cursor:
            row = self._by_key.one(cursor, {"pool": object_store_id, "key": key})
        return None if row is None else (row[0], row[1], row[2])

    def extra_files(self, dataset_id: int) -> list[ExtraFile]:
        """A dataset's extra files, in the order of their paths' bytes."""
        with self._db.read() as cursor:
            return self.extra_files_in(cursor, dataset_id)

    def extra_files_in(self, cursor: Cursor, dataset_id: int) -> list[ExtraFile]:
        """The same within a transaction."""
        found = [ExtraFile(*row) for row in self._extras.all(cursor, {"id": dataset_id})]
        return sorted(found, key=lambda one: one.path.encode())  # a database sorts by its own language's rules

    def page(self, which: Filter) -> list[Dataset]:
        """One page, newest first unless asked otherwise. Two queries, whatever the number of datasets."""
        labels = which.labels
        if len(labels) > LABELS_ASKED_MAX:
            raise InvalidKey(f"{LABELS_ASKED_MAX} labels at most can be searched at once; these are {len(labels)}")
        texts = [which.pool, which.owner, which.state, which.name_has, *(text for pair in labels for text in pair)]
        if not all(map(_is_storable, texts)):
            return []
        after = None if which.after is None else max(-ID_MAX, min(which.after, ID_MAX))
        given: dict[str, object] = {
            "pool": which.pool, "owner": which.owner, "state": which.state, "after": after,
            "name_has": None if which.name_has is None else f"%{_like(which.name_has)}%",
        }  # fmt: skip
        given = {name: value for name, value in given.items() if value is not None}
        for at, (key, value) in enumerate(labels):
            given |= {f"label{at}": value, f"key_of_label{at}": key}
        asked = frozenset(given) | ({"oldest_first"} if which.oldest_first else frozenset())
        statement = self._lists.get(asked)
        if statement is None:
            statement = self._lists[asked] = self._db.statement(_listing(asked))
        given["limit"] = max(1, min(which.limit, LIST_MAX))
        with self._db.read() as cursor:
            rows = statement.all(cursor, given)
            replicas = self._replicas_of(cursor, [row[0] for row in rows])
        return [_one(row, tuple(replicas.get(row[0], ())), row[-1]) for row in rows]

    def by_keys(self, object_store_id: str, after: str, last: str | None) -> list[tuple[int, Replica]]:
        """(dataset id, replica) recorded in a pool under keys behind `after`, up to and with `last`."""
        with self._db.read() as cursor:
            given = {"pool": object_store_id, "after": after}
            if last is None:
                rows = self._keys_to_end.all(cursor, given)
            else:
                rows = self._keys_between.all(cursor, {**given, "last": last})
        return [(row[0], _replica(row[1:])) for row in rows]

    def walk(
        self, *, pool: str | None = None, states: Sequence[str] = ("present", "suspect", "missing"), after: int = 0,
        page: int = 500,
    ) -> Iterator[tuple[int, Replica]]:  # fmt: skip
        """(dataset id, replica) of all replicas in those states, by dataset id; a page in memory at a time."""
        clause = (
            select(_REPLICA.c.dataset_id, *_REPLICA_COLUMNS)
            .where(any_of(_REPLICA.c.state, states))
            .where(_REPLICA.c.dataset_id > bindparam("after"))
            .order_by(_REPLICA.c.dataset_id, _REPLICA.c.object_store_id)
            .limit(page)
        )
        if pool is not None:
            clause = clause.where(_REPLICA.c.object_store_id == bindparam("pool"))
        statement = self._db.statement(clause)
        while True:
            given = {"after": after} if pool is None else {"after": after, "pool": pool}
            with self._db.read() as cursor:
                rows = statement.all(cursor, given)
            full = len(rows) == page
            if full and rows[0][0] != rows[-1][0]:  # do not cut a dataset's replicas in two
                last = rows[-1][0]
                rows = [row for row in rows if row[0] != last]
            for row in rows:
                yield row[0], _replica(row[1:])
            if not full:
                return
            after = rows[-1][0]

    def standing_bytes(self) -> dict[str, int]:
        """pool -> bytes of datasets that are in it and are to stay. Reads every replica's row."""
        with self._db.read() as cursor:
            return {row[0]: int(row[1]) for row in self._standing.all(cursor, {})}

    def _replicas_of(self, cursor: Cursor, ids: list[int]) -> dict[int, list[Replica]]:
        if not ids:
            return {}
        statement = self._replicas.get(len(ids))
        if statement is None:
            asked = [bindparam(f"id{at}", type_=schema.Whole) for at in range(len(ids))]
            statement = self._replicas[len(ids)] = self._db.statement(
                select(_REPLICA.c.dataset_id, *_REPLICA_COLUMNS)
                .where(any_of(_REPLICA.c.dataset_id, asked))
                .order_by(_REPLICA.c.created_us)
            )
        found: dict[int, list[Replica]] = {}
        for row in statement.all(cursor, {f"id{at}": value for at, value in enumerate(ids)}):
            found.setdefault(row[0], []).append(_replica(row[1:]))
        return found


def _listing(asked: frozenset[str]) -> Select[Any]:
    """The query of one page. `asked` are the names of the conditions, and `oldest_first`."""
    upwards = "oldest_first" in asked
    labels = [(at, schema.label.alias(f"l{at}")) for at in range(LABELS_ASKED_MAX) if f"label{at}" in asked]
    number = labels[0][1].c.dataset_id if labels else _DATASET.c.id  # what has the first label, by its index
    beyond = bindparam("after", type_=schema.Whole)
    conditions = {
        "state": _DATASET.c.state == bindparam("state"),
        "pool": _DATASET.c.object_store_id == bindparam("pool"),
        "owner": _DATASET.c.owner == bindparam("owner"),
        "name_has": _DATASET.c.name_key.like(bindparam("name_has"), escape="\\"),
        "after": number > beyond if upwards else number < beyond,
    }
    wanted = [condition for name, condition in conditions.items() if name in asked]
    if "state" not in asked:
        wanted.append(_DATASET.c.hidden == 0)
    found: FromClause = _DATASET
    for at, label in labels:
        found = found.join(label, label.c.dataset_id == _DATASET.c.id)
        wanted += [label.c.key == bindparam(f"key_of_label{at}"), label.c.value == bindparam(f"label{at}")]
    return (
        select(*_DATASET_COLUMNS, _DECISION.c.choices)
        .select_from(found.outerjoin(_DECISION, _DECISION.c.dataset_id == _DATASET.c.id))
        .where(and_(*wanted))
        .order_by(number if upwards else number.desc())
        .limit(bindparam("limit", type_=schema.Whole))
    )


def _is_storable(text: str | None) -> bool:
    """Whether this could be a text in a catalog."""
    try:
        return text is None or b"\0" not in text.encode()
    except UnicodeEncodeError:
        return False


def fold_name(name: str) -> str:
    """A name as it is searched: without regard to case."""
    return name.casefold()


def _like(text: str) -> str:
    return fold_name(text).replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")


def _dataset(rows: list[Row]) -> Dataset | None:
    if not rows:
        return None
    replicas = tuple(_replica(row[_WIDTH:-1]) for row in rows if row[_WIDTH] is not None)
    return _one(rows[0], replicas, rows[0][-1])


def _one(row: Row, replicas: tuple[Replica, ...], choices: str | None) -> Dataset:
    named = dict(zip(_DATASET_FIELDS, row, strict=False))
    return Dataset(**named, replicas=replicas, choices_json=choices)


def _replica(row: Row) -> Replica:
    return Replica(row[0], row[1], Key(row[2]), *row[3:])
