"""The parts of a document that are no pools: catalog, server, jobs, the files that it names."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import fields as dataclass_fields
from ipaddress import ip_address
from pathlib import Path
from typing import Any, TypeVar, cast
from urllib.parse import unquote, urlsplit

from holdfast.config.definitions import Definition
from holdfast.config.document import JobsConfig, ServerConfig
from holdfast.config.nodes import shorten
from holdfast.config.problems import ProblemLog, nearest
from holdfast.config.quantities import BadValue
from holdfast.config.secrets import Secret
from holdfast.config.vocabulary_document import ROOT_KEYS

_POSTGRES = frozenset({"postgresql", "postgres", "postgresql+psycopg"})
_POSTGRES_EXAMPLE = "catalog: postgresql://holdfast@db.example.org/holdfast"
_HOST = re.compile(r"[A-Za-z0-9._:%\[\]-]+")
_PREFIX = re.compile(r"/(?:[^\s/?#\\]+/)+")

_TIMES = ("deleted_expires_after_s", "reap_grace_s")
_DEFAULTS = {key.name: key.default for key in ROOT_KEYS}

T = TypeVar("T", ServerConfig, JobsConfig)


@dataclass(frozen=True, slots=True)
class Settings:
    """What a document says apart from its pools."""

    catalog_url: str | None
    catalog_password: Secret | None
    server: ServerConfig
    jobs: JobsConfig
    file_sources: str | None
    user_preferences_extra: str | None
    deleted_expires_after_s: int
    reap_grace_s: int


def read_settings(document: Definition, folder: Path, pool_ids: Sequence[str], problems: ProblemLog) -> Settings:
    """Everything but the pools; `pool_ids` are those that settings may name."""
    catalog_url, catalog_password = _read_catalog(document, folder, problems)
    return Settings(
        catalog_url=catalog_url,
        catalog_password=catalog_password,
        server=_read_server(document, pool_ids, problems),
        jobs=_block(JobsConfig, "jobs", document),
        file_sources=_named_file(document, "file_sources", problems),
        user_preferences_extra=_named_file(document, "user_preferences_extra", problems),
        **{name: cast("int", document.fields.get(name, _DEFAULTS[name])) for name in _TIMES},
    )


def _read_catalog(document: Definition, folder: Path, problems: ProblemLog) -> tuple[str | None, Secret | None]:
    """(URL without a password, password). (None, None) is SQLite in the state directory."""
    text = str(document.fields.get("catalog", "sqlite"))
    spot = document.key_spot("catalog")
    password = cast("Secret | None", document.fields.get("catalog_password"))
    if text == "sqlite":
        if password is not None:
            problems.note(document.key_spot("catalog_password"), "has no effect: the SQLite catalog has no password")
        return None, None
    try:
        parts = urlsplit(text)
        typed, port = parts.password, parts.port
    except ValueError:
        problems.error(spot, f"{shorten(_masked(text))!r} is not an address", _POSTGRES_EXAMPLE)
        return None, None
    if parts.scheme not in _POSTGRES:
        message = f"{shorten(_masked(text))!r} is neither sqlite nor a PostgreSQL address"
        problems.error(spot, message, "catalog: sqlite" if "sqlite" in parts.scheme else _POSTGRES_EXAMPLE)
        return None, None
    if len(parts.path) < 2 or parts.fragment or port == 0:
        problems.error(spot, f"{shorten(_masked(text))!r} names no database", _POSTGRES_EXAMPLE)
        return None, None
    if typed is not None and password is not None:
        problems.error(document.key_spot("catalog_password"), "the address holds a password too", "one of the two")
    elif typed is not None:
        try:
            password = Secret.parse(unquote(typed), folder, spot)
        except BadValue as bad:
            problems.error(spot, f"its password {bad.message}", bad.instead)
        if password is not None and password.reference is None:
            problems.note(spot, "holds a password in clear", "the address without it, and catalog_password: env:NAME")
    user, at, host = parts.netloc.rpartition("@")
    netloc = f"{user.partition(':')[0]}{at}{host}"
    query = f"?{parts.query}" if parts.query else ""
    return f"postgresql://{netloc}{parts.path}{query}", password


def _masked(url: str) -> str:
    return re.sub(r"(://[^/@:]*:)[^/]*@", r"\1********@", url)


def _read_server(document: Definition, pool_ids: Sequence[str], problems: ProblemLog) -> ServerConfig:
    """The web server's part."""
    server = _block(ServerConfig, "server", document)
    if not _HOST.fullmatch(server.host):
        message = f"{shorten(server.host)!r} is no address to listen on"
        problems.error(document.key_spot("server.host"), message, "host: 127.0.0.1")
    for proxy in server.trusted_proxies:
        if not _is_address(proxy):
            message = f"{shorten(proxy)!r} is no IP address"
            problems.error(document.key_spot("server.trusted_proxies"), message, "trusted_proxies: [127.0.0.1]")
    known = set(pool_ids)
    spot = document.key_spot("server.x_accel_prefix")
    for pool_id, prefix in server.x_accel_prefix.items():
        if pool_id not in known:
            problems.error(spot, f"there is no pool {pool_id[:60]!r}", nearest(pool_id, known))
        if not _PREFIX.fullmatch(prefix):
            message = f"{shorten(prefix)!r} is no place in nginx: it begins and ends with a slash"
            problems.error(spot, message, f"{pool_id}: /_{pool_id}/")
    if server.direct == "x-accel":
        streamed = sorted(known - set(server.x_accel_prefix))
        if streamed:
            problems.note(spot, f"downloads from {', '.join(streamed)} are streamed: no prefix is given for them")
    elif server.x_accel_prefix:
        problems.note(spot, "has no effect while direct is stream", "direct: x-accel")
    return server


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


def _block(cls: type[T], block: str, document: Definition) -> T:
    """The values that were given; the class knows the rest."""
    given: dict[str, Any] = {
        each.name: document.fields[f"{block}.{each.name}"]
        for each in dataclass_fields(cls)
        if f"{block}.{each.name}" in document.fields
    }
    return cls(**given)


def _named_file(document: Definition, name: str, problems: ProblemLog) -> str | None:
    """The path of a file that the document names and that is read elsewhere; it has to be there."""
    path = document.fields.get(name)
    if not isinstance(path, str):
        return None
    if not os.path.isfile(path):  # unlike Path.is_file it never raises
        problems.error(document.key_spot(name), f"there is no file {path}", "the name of one that is there, or no key")
    return path
