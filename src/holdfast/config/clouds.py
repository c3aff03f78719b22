"""A remote pool's keys, in whichever spelling they came, as what the cloud driver has to be told. Pure.

Each key of `vocabulary_remote` is used here, by the registry (cache, limits, retry, direct download), or has its reason
there why it has no effect. Secrets are looked up here: a reference that leads nowhere is a `ConfigError`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal, NoReturn, cast
from urllib.parse import urlsplit

from holdfast.config.document import PoolConfig
from holdfast.config.secrets import Secret
from holdfast.drivers.cloud.settings import (
    PART_BYTES,
    PART_BYTES_MIN,
    READ_PART_BYTES,
    READ_PARTS_MAX,
    SINGLE_PUT_BYTES_MAX,
    CloudSettings,
    Service,
)
from holdfast.errors import ConfigError, Problem

REDUCED_REDUNDANCY = "REDUCED_REDUNDANCY"
OLD_PORT = 6000  # what Galaxy takes where a host is given without a port
READ_BYTES_MAX = 64 * 1024 * 1024  # of one reader, on their way and at hand
PARTS_AT_ONCE = 4
PARTS_AT_ONCE_MAX = 32
_DEFAULT_PORTS = {"http": 80, "https": 443}
_AMAZON = "amazonaws.com"


def cloud_settings(pool: PoolConfig) -> CloudSettings:
    """What the cloud driver is told of this pool. `ConfigError` says what is missing and what to write."""
    return _READERS[pool.type](_Options(pool))


class _Options:
    """The pool's keys by their dotted names."""

    def __init__(self, pool: PoolConfig) -> None:
        self.pool = pool
        self._options: Mapping[str, object] = pool.options

    def get(self, name: str, default: Any = None) -> Any:
        """A value; the default where it was not given."""
        found: Any = self._options
        for part in name.split("."):
            found = found.get(part) if isinstance(found, Mapping) else None
        return default if found is None else found

    def secret(self, name: str) -> str | None:
        """A secret, looked up."""
        found = self.get(name)
        return found.reveal() if isinstance(found, Secret) else cast("str | None", found)

    def refuse(self, key: str, message: str, instead: str) -> NoReturn:
        """The pool cannot be used so."""
        where = f"{self.pool.object_store_id}.{key}"
        raise ConfigError([Problem("configuration", None, where, message, instead)])


def _old_s3(options: _Options) -> CloudSettings:
    """`aws_s3` and `generic_s3`."""
    largest = options.get("bucket.max_chunk_bytes") or PART_BYTES
    return _s3(
        options,
        endpoint=_endpoint_of_host(options),
        region=options.get("connection.region"),
        transfer={
            "part_bytes": max(PART_BYTES_MIN, min(PART_BYTES, largest)),
            "multipart": options.get("connection.multipart", True),
        },
    )


def _boto3(options: _Options) -> CloudSettings:
    endpoint = options.get("connection.endpoint_url")
    return _s3(
        options,
        endpoint=_plain(endpoint) if endpoint else _endpoint_of_host(options),
        region=options.get("connection.region"),
        transfer=_transfer(options),
    )


def _azure_blob(options: _Options) -> CloudSettings:
    endpoint = options.get("auth.account_url")
    return CloudSettings(
        service="azure",
        bucket=options.get("container.name"),
        endpoint=_plain(endpoint) if endpoint else None,
        account_name=options.get("auth.account_name"),
        account_key=options.secret("auth.account_key"),
        **_transfer(options),
    )


def _cloud(options: _Options) -> CloudSettings:
    """CloudBridge's form: one type for several providers."""
    endpoint = options.get("connection.endpoint_url")
    endpoint = _plain(endpoint) if endpoint else None
    provider = options.get("provider")
    if provider == "aws":
        return _s3(options, endpoint=endpoint, region=options.get("auth.region"), transfer=_transfer(options))
    service: Service
    if provider == "azure":
        service = "azure"
        if options.get("auth.storage_account") is None:
            options.refuse("auth", "says no storage account", "auth: {storage_account: NAME}")
    elif provider == "google":
        service = "google"
    else:
        instead = "type: generic_s3 with the address of Swift's S3 interface"
        options.refuse("provider", f"{provider} has no driver of its own", instead)
    return CloudSettings(
        service=service,
        bucket=options.get("bucket.name"),
        endpoint=endpoint,
        credentials_file=options.get("auth.credentials_file"),
        account_name=options.get("auth.storage_account"),
        tenant_id=options.get("auth.tenant"),
        client_id=options.get("auth.client_id"),
        client_secret=options.secret("auth.secret"),
        access_token=options.secret("auth.access_token"),
        validate_certs=options.get("connection.validate_certs", True),
        storage_class=_storage_class(options) if service == "google" else None,
        **_transfer(options),
    )


def _s3(
    options: _Options, *, endpoint: str | None, region: str | None, transfer: Mapping[str, Any]
) -> CloudSettings:
    access_key, secret_key = options.secret("auth.access_key"), options.secret("auth.secret_key")
    if (access_key is None) != (secret_key is None):
        given, missing = ("access_key", "secret_key") if secret_key is None else ("secret_key", "access_key")
        options.refuse("auth", f"has {given} and no {missing}", f"auth: {{{missing}: …}}, or neither of the two")
    return CloudSettings(
        service="s3",
        bucket=options.get("bucket.name"),
        endpoint=endpoint,
        region=region or _region_of(options.get("connection.host")),
        access_key=access_key,
        secret_key=secret_key,
        session_token=options.secret("auth.session_token"),
        credentials_file=options.get("auth.credentials_file"),
        profile=options.get("auth.profile"),
        validate_certs=options.get("connection.validate_certs", True),
        virtual_hosted=options.get("connection.addressing") == "host",
        storage_class=_storage_class(options),
        checksum=cast("Literal['sha256', 'crc64nvme'] | None", options.get("connection.checksum")),
        signing=options.get("connection.payload_signing", "auto"),
        conditions=options.get("connection.conditional_writes"),
        **transfer,
    )


def _storage_class(options: _Options) -> str | None:
    given: str | None = options.get("bucket.storage_class")
    return given or (REDUCED_REDUNDANCY if options.get("bucket.use_reduced_redundancy", False) else None)


def _endpoint_of_host(options: _Options) -> str | None:
    """The address from host, port, is_secure and conn_path; None where it is Amazon's own, or none was given."""
    host: str | None = options.get("connection.host")
    if host is None or host == _AMAZON or host.endswith(f".{_AMAZON}"):
        return None
    if "/" in host:
        options.refuse("connection.host", f"{host!r} is not a host alone", "connection: {host: s3.example.org}")
    scheme = "https" if options.get("connection.is_secure", True) else "http"
    path = str(options.get("connection.conn_path", "/")).strip("/")
    if ":" in host and not host.startswith("["):
        host = f"[{host}]"
    port = options.get("connection.port", OLD_PORT)
    return _plain(f"{scheme}://{host}:{port}/{path}")


def _plain(endpoint: str) -> str:
    """The address as it is signed: without a slash at the end, and without a port that goes without saying."""
    parts = urlsplit(endpoint)
    netloc = parts.netloc
    if parts.port is not None and parts.port == _DEFAULT_PORTS.get(parts.scheme):
        netloc = netloc.rpartition(":")[0]
    return f"{parts.scheme}://{netloc.lower()}{parts.path.rstrip('/')}"


def _region_of(host: str | None) -> str | None:
    """`eu-north-1` of `s3.eu-north-1.amazonaws.com` and `s3-eu-north-1.amazonaws.com`."""
    if host is None or not host.endswith(f".{_AMAZON}"):
        return None
    name = host.removesuffix(f".{_AMAZON}")
    return name[3:] or None if name.startswith(("s3.", "s3-")) else None


def _transfer(options: _Options) -> dict[str, Any]:
    """Sizes and parallelism, brought within what keeps memory bounded."""
    part_bytes = _first(options, PART_BYTES, "upload_multipart_chunksize", "multipart_chunksize", "max_block_size")
    read_bytes = _first(
        options, READ_PART_BYTES, "download_multipart_chunksize", "multipart_chunksize", "max_single_get_size"
    )
    single_bytes = _first(
        options, PART_BYTES, "upload_multipart_threshold", "multipart_threshold", "max_single_put_size"
    )
    part_bytes = min(max(PART_BYTES_MIN, part_bytes), READ_BYTES_MAX)
    read_bytes = min(max(PART_BYTES_MIN, read_bytes), READ_BYTES_MAX // 2)
    readers = _at_once(options, "download_", READ_PARTS_MAX)
    return {
        "part_bytes": part_bytes,
        "multipart_from_bytes": min(max(1, single_bytes), SINGLE_PUT_BYTES_MAX),
        "put_parts_at_once": _at_once(options, "upload_", PARTS_AT_ONCE),
        "read_part_bytes": read_bytes,
        "read_parts_at_once": max(1, min(readers, READ_BYTES_MAX // read_bytes - 1)),
    }


def _at_once(options: _Options, way: str, default: int) -> int:
    threads = options.get(f"transfer.{way}use_threads", options.get("transfer.use_threads", True))
    wanted = _first(options, default, f"{way}max_concurrency", "max_concurrency") if threads else 1
    return min(max(1, wanted), PARTS_AT_ONCE_MAX)


def _first(options: _Options, default: int, *names: str) -> int:
    """The first of these that was given: the one for this way goes before the one for both."""
    for name in names:
        found = options.get(f"transfer.{name}")
        if found is not None:
            return int(found)
    return default


_READERS: Mapping[str, Callable[[_Options], CloudSettings]] = {
    "aws_s3": _old_s3,
    "generic_s3": _old_s3,
    "boto3": _boto3,
    "azure_blob": _azure_blob,
    "cloud": _cloud,
}
