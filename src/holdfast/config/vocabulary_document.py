"""The table of keys of a document's own: its root, what holds for all pools, the server, the jobs."""

from __future__ import annotations

from holdfast.config.keys import Key
from holdfast.config.quantities import MIB
from holdfast.config.values import (
    DURATION,
    DURATION_WITH_UNIT,
    FLAG,
    PATH,
    PERCENT,
    SECRET,
    SIZE,
    SIZE_WITH_UNIT,
    STRUCTURE,
    TABLE,
    TEXT,
    TEXTS,
    URL,
    choice,
    whole,
)
from holdfast.config.vocabulary import DURABILITY_KEY, OLD_STYLE_KEY, STORE_BY, VERIFY_KEY

ROOT_KEYS: tuple[Key, ...] = (
    Key("state_dir", PATH, "where Holdfast keeps what is its own", default="./holdfast-state"),
    Key("catalog", TEXT, "sqlite (in state_dir), or postgresql://user@host/database", default="sqlite"),
    Key("catalog_password", SECRET, "the password of the catalog's user"),
    Key("object_store", PATH, "a Galaxy file (XML or YAML) with the pools"),
    Key("pools", STRUCTURE, "the pools, each under its id"),
    Key("placement", STRUCTURE, "hierarchical, distributed, or a tree of them over the pools' ids"),
    Key("file_sources", PATH, "Galaxy's file_sources_conf.yml"),
    Key("user_preferences_extra", PATH, "Galaxy's user_preferences_extra_conf.yml"),
    Key(
        "deleted_expires_after_s",
        DURATION,
        "how long a deleted dataset can be restored",
        default=30 * 86_400,
        short=("deleted_expires_after", DURATION_WITH_UNIT),
    ),
    Key(
        "reap_grace_s",
        DURATION,
        "how long a retired copy stays, for whoever still reads it",
        default=86_400,
        short=("reap_grace", DURATION_WITH_UNIT),
    ),
)

SERVER_KEYS: tuple[Key, ...] = (
    Key("server.host", TEXT, "the address it listens on", default="127.0.0.1"),
    Key("server.port", whole(0, 65_535, "8080"), "the port; 0 takes a free one", default=8080),
    Key("server.workers", whole(1, 64, "1"), "how many processes serve", default=1),
    Key("server.public_url", URL, "the address that users type, where a proxy stands in front"),
    Key(
        "server.direct",
        choice("stream", "x-accel"),
        "who sends downloads: Holdfast, or nginx",
        default="stream",
    ),
    Key("server.x_accel_prefix", TABLE, "for each pool's id: nginx's internal location of its folder"),
    Key(
        "server.direct_download",
        choice("never", "when-cold", "always"),
        "when a download is sent to the signed address of a pool that allows it: `when-cold` streams what is near",
        default="when-cold",
    ),
    Key("server.trusted_proxies", TEXTS, "addresses of proxies whose X-Forwarded headers are believed"),
    Key("server.allowed_hosts", TEXTS, "the only names under which requests are answered; any, where none is given"),
    Key("server.max_upload_bytes", SIZE, "the largest upload", short=("server.max_upload", SIZE_WITH_UNIT)),
    Key(
        "server.upload_expires_after_s",
        DURATION,
        "how long an unfinished upload can be resumed",
        default=7 * 86_400,
        short=("server.upload_expires_after", DURATION_WITH_UNIT),
    ),
    Key(
        "server.session_expires_after_s",
        DURATION,
        "how long a browser stays signed in",
        default=14 * 86_400,
        short=("server.session_expires_after", DURATION_WITH_UNIT),
    ),
)

JOBS_KEYS: tuple[Key, ...] = (
    Key("jobs.max_running", whole(1, 1024, "2"), "how many jobs run at once", default=2),
    Key(
        "jobs.keep_failed_s",
        DURATION,
        "how long a failed job keeps its folder",
        default=7 * 86_400,
        short=("jobs.keep_failed", DURATION_WITH_UNIT),
    ),
    Key(
        "jobs.keep_logs_s",
        DURATION,
        "how long what a job wrote to stdout and stderr is kept",
        default=90 * 86_400,
        short=("jobs.keep_logs", DURATION_WITH_UNIT),
    ),
    Key(
        "jobs.stop_grace_s",
        DURATION,
        "how long a cancelled job may take to end by itself",
        default=10,
        short=("jobs.stop_grace", DURATION_WITH_UNIT),
    ),
    Key(
        "jobs.max_log_bytes",
        SIZE,
        "how much of each of stdout and stderr is kept",
        default=10 * MIB,
        short=("jobs.max_log", SIZE_WITH_UNIT),
    ),
)

DEFAULT_KEYS: tuple[Key, ...] = (
    Key("store_by", STORE_BY, "store_by of every pool that does not say it", also=("object_store_store_by",)),
    Key(
        "max_percent_full",
        PERCENT,
        "max_percent_full of the root of the tree",
        also=("global_max_percent_full",),
    ),
    Key("search_for_missing", FLAG, "search_for_missing of the root of the tree"),
    OLD_STYLE_KEY,
    DURABILITY_KEY,
    VERIFY_KEY,
    Key("file_path", PATH, "galaxy.yml's: files_dir of a disk that does not say it"),
    Key("jobs_directory", PATH, "galaxy.yml's: job_work of every pool that does not say it"),
    Key("new_file_path", PATH, "galaxy.yml's: temp of every pool that does not say it"),
    Key("object_store_cache_path", PATH, "galaxy.yml's: cache.path of every pool that does not say it"),
    Key(
        "object_store_cache_size_bytes",
        SIZE,
        "galaxy.yml's: cache.size_bytes of every pool that does not say it",
        short=("object_store_cache_size", SIZE_WITH_UNIT),
    ),
)

DOCUMENT_KEYS: tuple[Key, ...] = (*ROOT_KEYS, *DEFAULT_KEYS, *SERVER_KEYS, *JOBS_KEYS)
