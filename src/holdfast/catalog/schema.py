"""All tables, in one place. One schema for SQLite and PostgreSQL.

Only integers and texts: times are microseconds since 1970 (UTC), sizes are bytes, switches are 0 and 1,
structures are JSON texts. So a row needs no converting and a statement runs as it is on the raw driver.
"""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, ForeignKey, Index, Integer, MetaData, Table, Text, UniqueConstraint, text
from sqlalchemy.dialects import postgresql

HEAD = "0003"  # the migration that these tables correspond to

metadata = MetaData()

Whole = BigInteger().with_variant(Integer, "sqlite")

_Bytewise = Text().with_variant(postgresql.TEXT(collation="C"), "postgresql")  # sorts as stores list


def _whole(name: str, default: int | None = None, *, empty: bool = False) -> Column[int]:
    server_default = None if default is None else str(default)
    return Column(name, Whole, nullable=empty, server_default=server_default)


def _text(name: str, default: str | None = None, *, empty: bool = False) -> Column[str]:
    return Column(name, Text, nullable=empty, server_default=default)


# What this catalog is: instance id, settings that were made at run time.
setting = Table("setting", metadata, Column("key", Text, primary_key=True), _text("value"))

# Numbers that are given out once: dataset, job, operation.
sequence = Table("sequence", metadata, Column("name", Text, primary_key=True), _whole("next"))

pool = Table(
    "pool",
    metadata,
    Column("object_store_id", Text, primary_key=True),
    _text("type"),
    _text("location", empty=True),  # the folder or bucket, for people and to recognise renames
    _text("identity", empty=True),  # the mark that the medium carries
    _text("state", "active"),  # active read-only draining offline
    _whole("configured", 1),  # 0: no longer in the configuration
    _whole("datasets", 0),  # replicas present
    _whole("used_bytes", 0),  # replicas present or retiring
    _whole("reserved_bytes", 0),
    _whole("surveyed", 0),  # 1: whatever lies in it is recorded, or was put there past us since
    _whole("created_us"),
)

_MADE_BY_A_JOB = text("job_id IS NOT NULL")

dataset = Table(
    "dataset",
    metadata,
    Column("id", Whole, primary_key=True, autoincrement=False),
    Column("uuid", Text, nullable=False, unique=True),
    _text("name"),
    _text("name_key"),  # folded for search
    _text("owner", empty=True),  # the account's e-mail address
    _text("state"),  # new ok error deleted purged
    _whole("size_bytes", 0),
    _whole("total_bytes", 0),  # with extra files
    _text("checksum", empty=True),  # blake3:<hex>; null while only adopted
    _text("object_store_id", empty=True),
    _text("origin"),  # put job adopted import
    _whole("job_id", empty=True),
    _text("labels", "{}"),
    _text("note", empty=True),  # why it is in the state it is in
    _whole("hidden", 0),  # 1: deleted or purged; lists leave it out unless asked
    _whole("created_us"),
    _whole("updated_us"),
    _whole("deleted_us", empty=True),
    Index("dataset_by_recency", "hidden", "id"),
    Index("dataset_by_pool", "object_store_id", "hidden", "id"),
    Index("dataset_by_owner", "owner", "hidden", "id"),
    Index("dataset_by_state", "state", "id"),
    Index("dataset_by_name", "name_key", "id"),
    Index("dataset_by_job", "job_id", sqlite_where=_MADE_BY_A_JOB, postgresql_where=_MADE_BY_A_JOB),
)

replica = Table(
    "replica",
    metadata,
    Column("dataset_id", Whole, ForeignKey("dataset.id"), primary_key=True),
    Column("object_store_id", Text, ForeignKey("pool.object_store_id"), primary_key=True),
    _text("state"),  # writing present suspect missing retiring gone
    Column("key", _Bytewise, nullable=False),
    _whole("size_bytes", 0),  # with extra files
    _text("version", empty=True),
    _whole("verified_us", empty=True),
    _text("next_checksum", empty=True),  # a replace that is staged but not finished
    _whole("next_size_bytes", empty=True),
    _text("note", empty=True),
    _whole("created_us"),
    _whole("changed_us"),
    Index("replica_by_pool", "object_store_id", "state", "dataset_id"),
    Index("replica_by_age", "object_store_id", "state", "verified_us"),
    Index("replica_by_state", "state", "changed_us"),
    UniqueConstraint("object_store_id", "key", name="replica_key"),
)

# What `dataset.labels` says, as it is searched.
label = Table(
    "label",
    metadata,
    Column("dataset_id", Whole, ForeignKey("dataset.id"), primary_key=True),
    Column("key", Text, primary_key=True),
    _text("value"),
    Index("label_by_value", "key", "value", "dataset_id"),
)

extra_file = Table(
    "extra_file",
    metadata,
    Column("dataset_id", Whole, ForeignKey("dataset.id"), primary_key=True),
    Column("path", Text, primary_key=True),
    _whole("size_bytes"),
    _text("checksum", empty=True),
)

# Why a dataset is where it is.
decision = Table(
    "decision",
    metadata,
    Column("dataset_id", Whole, ForeignKey("dataset.id"), primary_key=True),
    _whole("decided_us"),
    _text("choices"),
)

# How often each child of a distributed node was chosen, per set of eligible children.
round_count = Table(
    "round_count",
    metadata,
    Column("node_id", Text, primary_key=True),
    Column("signature", Text, primary_key=True),
    Column("child", Text, primary_key=True),
    _whole("count", 0),
)

# Room that is spoken for: one write in progress each.
reservation = Table(
    "reservation",
    metadata,
    Column("dataset_id", Whole, ForeignKey("dataset.id"), primary_key=True),
    _text("token", None),
    _text("object_store_id"),
    _whole("size_bytes"),
    _text("kind"),  # put replace purge
    _text("rounds", "[]"),  # what to take back when it fails
    _text("holder"),  # the process that does it
    _whole("touched_us"),
    Index("reservation_by_holder", "holder"),
)

# Replicas that are being made of datasets that exist: the room that is spoken for in the pool where they come to be.
moving = Table(
    "moving",
    metadata,
    Column("dataset_id", Whole, ForeignKey("dataset.id"), primary_key=True),
    Column("object_store_id", Text, ForeignKey("pool.object_store_id"), primary_key=True),
    _text("token"),
    _text("source"),  # the pool whose bytes are copied
    _text("checksum", empty=True),  # what they are to be
    _whole("size_bytes"),
    _text("holder"),  # the process that does it
    _whole("touched_us"),
    Index("moving_by_holder", "holder"),
)

# What an operation has moved: one line per blob, to be shown, signed and verified.
receipt = Table(
    "receipt",
    metadata,
    Column("operation_id", Whole, primary_key=True, autoincrement=False),
    Column("dataset_id", Whole, primary_key=True, autoincrement=False),
    Column("path", Text, primary_key=True),  # of the extra file; empty for the primary blob
    _text("source"),
    _text("target"),
    _whole("size_bytes"),
    _text("checksum"),
    _whole("proved", 1),  # 1: read back from the target; 0: the file itself got another name
    _whole("moved_us"),
)

# Processes that hold reservations, jobs or operations.
holder = Table(
    "holder",
    metadata,
    Column("id", Text, primary_key=True),
    _text("machine"),  # host, boot and process-id space
    _whole("pid"),
    _text("born"),  # the process's start time, so that a reused pid is noticed
    _text("kind"),
    _whole("seen_us"),
)

# Promises that outlive a process: a job's inputs.
lease = Table(
    "lease",
    metadata,
    Column("dataset_id", Whole, ForeignKey("dataset.id"), primary_key=True),
    Column("holder", Text, primary_key=True),  # job:<id>
    _whole("until_us", empty=True),
    Index("lease_by_holder", "holder"),
)

# Bytes per owner and quota source.
owner_usage = Table(
    "owner_usage",
    metadata,
    Column("owner", Text, primary_key=True),
    Column("quota_source", Text, primary_key=True),
    _whole("used_bytes", 0),
    _whole("datasets", 0),
)

# How many datasets are in each state.
state_count = Table("state_count", metadata, Column("state", Text, primary_key=True), _whole("count", 0))

account = Table(
    "account",
    metadata,
    Column("id", Whole, primary_key=True, autoincrement=False),
    Column("email", Text, nullable=False, unique=True),  # lower case
    _text("password_hash", empty=True),
    _whole("is_admin", 0),
    _whole("active", 1),
    _text("preferred_pool", empty=True),
    _text("preferences", "{}"),
    _whole("created_us"),
)

# Sessions, API tokens and one-time links; only hashes are kept.
credential = Table(
    "credential",
    metadata,
    Column("hash", Text, primary_key=True),
    Column("account_id", Whole, ForeignKey("account.id"), nullable=False),
    _text("kind"),  # session token link
    _text("label", ""),
    _whole("created_us"),
    _whole("used_us", empty=True),
    _whole("expires_us", empty=True),
    Index("credential_by_account", "account_id", "kind"),
)

# Failed sign-ins, so that guessing is slow. The bucket is a hash of an e-mail address, a client address or both.
attempt = Table(
    "attempt",
    metadata,
    Column("bucket", Text, primary_key=True),
    _whole("failures"),
    _whole("blocked_until_us"),
    _whole("changed_us"),
    Index("attempt_by_age", "changed_us"),
)

upload = Table(
    "upload",
    metadata,
    Column("id", Text, primary_key=True),
    _text("owner"),
    _text("name"),
    _whole("size_bytes", empty=True),
    _whole("offset_bytes", 0),
    _text("parameters", "{}"),
    _whole("dataset_id", empty=True),  # set when it has become one
    _whole("created_us"),
    _whole("touched_us"),
    Index("upload_by_touch", "touched_us"),
)

job = Table(
    "job",
    metadata,
    Column("id", Whole, primary_key=True, autoincrement=False),
    _text("owner", empty=True),
    _text("state"),  # queued running ok failed cancelled lost
    _text("command"),  # JSON list
    _text("inputs", "[]"),  # JSON list of dataset ids
    _text("outputs", "[]"),  # JSON list of {name, dataset_id}
    _text("wanted_pool", empty=True),
    _text("object_store_id", empty=True),
    _text("folder", empty=True),
    _whole("pid", empty=True),
    _text("born", empty=True),
    _text("holder", empty=True),
    _whole("exit_code", empty=True),
    _text("note", empty=True),
    _text("environment", "{}"),
    _whole("cancel_wanted", 0),
    _whole("created_us"),
    _whole("started_us", empty=True),
    _whole("finished_us", empty=True),
    Index("job_by_state", "state", "id"),
    Index("job_by_owner", "owner", "id"),
)

operation = Table(
    "operation",
    metadata,
    Column("id", Whole, primary_key=True, autoincrement=False),
    _text("kind"),  # scrub reconcile reap ...
    _text("state"),  # running paused done failed cancelled
    _text("parameters", "{}"),
    _text("cursor", empty=True),  # where to go on
    _text("holder", empty=True),
    _whole("objects_total", 0),
    _whole("objects_done", 0),
    _whole("bytes_total", 0),
    _whole("bytes_done", 0),
    _text("result", "{}"),
    _text("wanted", empty=True),  # pause cancel
    _text("actor", empty=True),
    _whole("created_us"),
    _whole("updated_us"),
    _whole("finished_us", empty=True),
    Index("operation_by_state", "state", "id"),
)

operation_failure = Table(
    "operation_failure",
    metadata,
    Column("operation_id", Whole, ForeignKey("operation.id"), primary_key=True),
    Column("item", Text, primary_key=True),  # a dataset's id, or a key
    _text("object_store_id", empty=True),
    _text("error"),
    _text("why"),
)

event = Table(
    "event",
    metadata,
    Column("id", Whole, primary_key=True, autoincrement=True),
    _whole("at_us"),
    _text("kind"),  # dataset.put pool.state job.failed ...
    _whole("dataset_id", empty=True),
    _text("object_store_id", empty=True),
    _text("actor", empty=True),
    _text("text"),
    Index("event_by_dataset", "dataset_id", "id"),
)
