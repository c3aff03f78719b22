"""The table of keys: every pool, disks and routers.

`vocabulary_remote` holds the keys of the remote types, `vocabulary_document` those of a document itself.
These are the only places where a key is named: the three readers, the messages ("write: …"), `config show
--expanded` and the reference pages are all made from them.
"""

from __future__ import annotations

from holdfast.config import vocabulary_remote as remote
from holdfast.config.keys import Key
from holdfast.config.values import (
    BADGES,
    DURATION,
    DURATION_WITH_UNIT,
    EXTRA_DIRS,
    FLAG,
    GALAXY_PERCENT,
    ID,
    ORDER,
    PARAGRAPH,
    PATH,
    PERCENT,
    POSITIVE,
    SIZE,
    SIZE_WITH_UNIT,
    TEXT,
    WEIGHT,
    choice,
)

ROUTERS = frozenset({"hierarchical", "distributed"})
_DISTRIBUTED = frozenset({"distributed"})
_HIERARCHICAL = frozenset({"hierarchical"})
_NAMED_IN_XML = frozenset({"disk", "aws_s3", "generic_s3", "boto3", "azure_blob", "cloud"})
_DISK = frozenset({"disk"})
_NOWHERE: frozenset[str] = frozenset()
_WITHOUT_RUCIO = frozenset({*remote.REMOTE_KEYS, "disk", "hierarchical"} - {"rucio"})
_ROUTER_TEXT = "users see pools, not routers"

TYPE_ALIASES = {"s3": "aws_s3", "swift": "generic_s3"}
"""Galaxy's second names of types -> the name that it uses itself when it writes a configuration."""

STORE_BY = choice("id", "uuid")
DURABILITY = choice("full", "process")

_TYPE = Key("type", TEXT, "what kind of store this is", required=True)
_STORE_BY = Key(
    "store_by",
    STORE_BY,
    "whether datasets lie under their id or their uuid",
    default="id",
    xml_types=_DISK,
    xml_below=_DISTRIBUTED,
    caution="what Galaxy wrote lies under the id, unless galaxy.yml says object_store_store_by: uuid",
)
_PRIVATE = Key("private", FLAG, "datasets here cannot be shared between users", default=False, xml_types=_WITHOUT_RUCIO)
_DEVICE = Key(
    "device",
    TEXT,
    "pools with the same device lie on the same disks",
    xml_types=_NAMED_IN_XML,
)
_QUOTA = (
    Key("quota.source", TEXT, "label of the quota that counts this; empty: the default quota", xml_types=_DISK),
    Key("quota.enabled", FLAG, "whether a quota counts this at all", default=True, xml_types=_DISK),
)
OLD_STYLE_KEY = Key(
    "check_old_style",
    FLAG,
    "also look for dataset_N.dat at the top of the folder, where very old servers put it (galaxy.yml's)",
    default=False,
    also=("object_store_check_old_style",),
    yaml=("object_store_check_old_style", "check_old_style"),
    xml=("@object_store_check_old_style", "@check_old_style"),
    yaml_types=_NOWHERE,
    xml_types=_NOWHERE,
)
DURABILITY_KEY = Key(
    "durability",
    DURABILITY,
    "full: a put is done when it survives a power cut; process: when it survives a crash of Holdfast",
    default="full",
    galaxy=False,
)
VERIFY_KEY = Key(
    "integrity.verify_every_s",
    DURATION,
    "the target: no stored byte is older than this since it was last verified (scrub does that); none, if not given",
    short=("integrity.verify_every", DURATION_WITH_UNIT),
    galaxy=False,
)
_PLACE_IN_TREE = (
    Key(
        "order",
        ORDER,
        "place below a hierarchical router: the lowest comes first",
        yaml_types=_NOWHERE,
        no_effect_in_yaml="in YAML the order of the list decides",
        below=_HIERARCHICAL,
        effect_below=_HIERARCHICAL,
    ),
    Key(
        "weight",
        WEIGHT,
        "share of the new datasets below a distributed router; 0: only read",
        default=1,
        below=_DISTRIBUTED,
        effect_below=_DISTRIBUTED,
    ),
)
_ALLOW_SELECTION = Key("allow_selection", FLAG, "users may choose this pool", default=False, below=_DISTRIBUTED)

POOL_KEYS: tuple[Key, ...] = (
    _TYPE,
    Key("id", ID, "the pool's name in the catalog and in Galaxy's database: object_store_id", galaxy=True),
    *_PLACE_IN_TREE,
    _STORE_BY,
    Key("name", TEXT, "what users see", xml_types=_NAMED_IN_XML),
    Key("description", PARAGRAPH, "what users read about it (Markdown)", xml=("description",), xml_types=_DISK),
    _PRIVATE,
    *_QUOTA,
    _DEVICE,
    Key("badges", BADGES, "its good and bad sides, for users", xml=("badges",), xml_types=_DISK),
    _ALLOW_SELECTION,
    Key(
        "max_percent_full",
        PERCENT,
        "no new datasets above this; goes before the router's limit",
        also=("maxpctfull",),
        yaml=("max_percent_full", "maxpctfull"),
        xml=("@maxpctfull", "@max_percent_full"),
        galaxy_kind=GALAXY_PERCENT,
        below=_DISTRIBUTED,
    ),
    Key(
        "capacity_bytes",
        SIZE,
        "how much may lie here, where the medium does not say it or should not be filled",
        short=("capacity", SIZE_WITH_UNIT),
        galaxy=False,
    ),
    Key(
        "object_expires_after_days",
        POSITIVE,
        "shown to users: what lies here is deleted after so many days",
        xml_types=_NOWHERE,
    ),
    Key("extra_dirs", EXTRA_DIRS, "folders for jobs (job_work) and temporary files (temp)", xml=("extra_dir",)),
    OLD_STYLE_KEY,
    DURABILITY_KEY,
    VERIFY_KEY,
)

DISK_KEYS: tuple[Key, ...] = (
    Key("files_dir", PATH, "the folder of the datasets", required=True, xml=("files_dir@path",)),
)

ROUTER_KEYS: tuple[Key, ...] = (
    _TYPE,
    Key("id", ID, "the router's name; made from its kind and place if it is not given"),
    *_PLACE_IN_TREE,
    Key(
        "search_for_missing",
        FLAG,
        "look through all pools for a dataset that the catalog does not know",
        default=True,
        xml=("backends@search_for_missing", "@search_for_missing"),
        xml_types=_DISTRIBUTED,
        yaml_types=_DISTRIBUTED,
    ),
    Key(
        "max_percent_full",
        PERCENT,
        "the limit of every pool below that has none of its own",
        also=("global_max_percent_full", "maxpctfull"),
        yaml=("global_max_percent_full", "max_percent_full", "maxpctfull"),
        xml=("backends@maxpctfull", "@maxpctfull", "backends@max_percent_full", "@max_percent_full"),
        galaxy_kind=GALAXY_PERCENT,
        xml_types=_DISTRIBUTED,
        yaml_types=_DISTRIBUTED,
    ),
    Key(
        "store_by",
        STORE_BY,
        "store_by of every pool below that does not say it",
        galaxy=False,
        caution=_STORE_BY.caution,
    ),
    Key(
        "private",
        FLAG,
        "private of every pool below that does not say it",
        xml_types=_HIERARCHICAL,
        yaml_types=_HIERARCHICAL,
    ),
    Key(
        "quota.source",
        TEXT,
        "quota of every pool below that does not say it",
        xml_types=_NOWHERE,
        yaml_types=_HIERARCHICAL,
    ),
    Key(
        "quota.enabled",
        FLAG,
        "whether a quota counts the pools below",
        xml_types=_NOWHERE,
        yaml_types=_HIERARCHICAL,
    ),
    Key("device", TEXT, "device of every pool below that does not say it", galaxy=False),
    OLD_STYLE_KEY,
    DURABILITY_KEY,
    VERIFY_KEY,
    Key("name", TEXT, "", no_effect=_ROUTER_TEXT),
    Key("description", PARAGRAPH, "", xml=("description",), no_effect=_ROUTER_TEXT),
    Key("badges", BADGES, "", xml=("badges",), no_effect=_ROUTER_TEXT),
    Key("allow_selection", FLAG, "", no_effect="users choose pools, not routers"),
    Key("extra_dirs", EXTRA_DIRS, "", xml=("extra_dir",), no_effect="each pool has its own folders"),
)

TYPE_KEYS: dict[str, tuple[Key, ...]] = {"disk": DISK_KEYS, **remote.REMOTE_KEYS}
"""Every type of pool -> the keys of its driver."""

TYPE_WORDS: dict[str, str] = {
    "disk": "A folder on a disk of this machine (or one mounted here).",
    **remote.REMOTE_WORDS,
}


def keys_of(type_name: str) -> tuple[Key, ...]:
    """All keys of a pool or router of this type."""
    if type_name in ROUTERS:
        return ROUTER_KEYS
    return _KEYS_OF[type_name]


_KEYS_OF = {type_name: (*POOL_KEYS, *keys) for type_name, keys in TYPE_KEYS.items()}
