"""Reading what the catalog knows of datasets. Finding one costs one query, whatever the number of pools."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from sqlalchemy import Select, and_, bindparam, select

from holdfast.catalog import schema
from holdfast.catalog.base import Dataset, ExtraFile, Filter, Replica, Row
from holdfast.catalog.database import Cursor, Database, any_of
from holdfast.keys import Key

LIST_MAX = 1000
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
                _DATASET.c.state, _DATASET.c.uuid, _REPLICA.c.object_store_id, _REPLICA.c.state, _REPLICA.c.key
            )
            .select_from(_DATASET.outerjoin(_REPLICA, _REPLICA.c.dataset_id == _DATASET.c.id))
            .where(_DATASET.c.id == bindparam("id"))
        )
        self._exists = db.statement(select(_DATASET.c.id).where(_DATASET.c.id == bindparam("id")))
        self._by_key = db.statement(
            select(_REPLICA.c.dataset_id, _REPLICA.c.state, _REPLICA.c.size_bytes)
            .where(_REPLICA.c.object_store_id == bindparam("pool"))
            .where(_REPLICA.c.key == bindparam("key"))
        )
        self._extras = db.statement(
            select(_EXTRA.c.path, _EXTRA.c.size_bytes, _EXTRA.c.checksum)
            .where(_EXTRA.c.dataset_id == bindparam("id"))
            .order_by(_EXTRA.c.path)
        )
        keys = (
            select(_REPLICA.c.dataset_id, *_REPLICA_COLUMNS)
            .where(_REPLICA.c.object_store_id == bindparam("pool"))
            .where(_REPLICA.c.key > bindparam("after"))
            .order_by(_REPLICA.c.key)
        )
        self._keys_to_end = db.statement(keys)
        self._keys_between = db.statement(keys.where(_REPLICA.c.key <= bindparam("last")))
        self._lists: dict[tuple[bool, ...], Any] = {}

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
        """(dataset state, uuid, pool, replica state, key) of each replica: the hot path of every read."""
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
        """A dataset's extra files, by path."""
        with self._db.read() as cursor:
            return [ExtraFile(*row) for row in self._extras.all(cursor, {"id": dataset_id})]

    def page(self, which: Filter) -> list[Dataset]:
        """One page, newest first unless asked otherwise. Two queries, whatever the number of datasets."""
        asked = (
            which.pool is not None, which.owner is not None, which.state is not None, which.name_has is not None,
            which.after is not None, which.oldest_first,
        )  # fmt: skip
        statement = self._lists.get(asked)
        if statement is None:
            statement = self._lists[asked] = self._db.statement(_listing(*asked))
        parameters = {
            "pool": which.pool, "owner": which.owner, "state": which.state,
            "name_has": f"%{_like(which.name_has)}%" if which.name_has is not None else None,
            "after": which.after, "limit": max(1, min(which.limit, LIST_MAX)),
        }  # fmt: skip
        flags = dict(zip(("pool", "owner", "state", "name_has", "after"), asked, strict=False))
        given = {name: value for name, value in parameters.items() if name == "limit" or flags[name]}
        with self._db.read() as cursor:
            rows = statement.all(cursor, given)
            replicas = self._replicas_of(cursor, [row[0] for row in rows])
        return [_one(row, tuple(replicas.get(row[0], ())), None) for row in rows]

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

    def _replicas_of(self, cursor: Cursor, ids: list[int]) -> dict[int, list[Replica]]:
        if not ids:
            return {}
        clause = (
            select(_REPLICA.c.dataset_id, *_REPLICA_COLUMNS)
            .where(any_of(_REPLICA.c.dataset_id, ids))
            .order_by(_REPLICA.c.created_us)
        )
        found: dict[int, list[Replica]] = {}
        for row in self._db.statement(clause).all(cursor, {}):
            found.setdefault(row[0], []).append(_replica(row[1:]))
        return found


def _listing(
    pool: bool, owner: bool, state: bool, name_has: bool, after: bool, oldest_first: bool
) -> Select[Any]:
    clause = select(*_DATASET_COLUMNS).limit(bindparam("limit", type_=schema.Whole))
    conditions: list[Any] = [_DATASET.c.state == bindparam("state") if state else _DATASET.c.hidden == 0]
    if pool:
        conditions.append(_DATASET.c.object_store_id == bindparam("pool"))
    if owner:
        conditions.append(_DATASET.c.owner == bindparam("owner"))
    if name_has:
        conditions.append(_DATASET.c.name_key.like(bindparam("name_has"), escape="\\"))
    if after:
        beyond = bindparam("after", type_=schema.Whole)
        conditions.append(_DATASET.c.id > beyond if oldest_first else _DATASET.c.id < beyond)
    return clause.where(and_(*conditions)).order_by(_DATASET.c.id if oldest_first else _DATASET.c.id.desc())


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
