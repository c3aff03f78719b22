"""The table of keys of the remote types: S3, Azure, cloud, iRODS, Rucio, Onedata, Pithos.

They are read in full whether or not Holdfast has a driver for the type yet (`document.DRIVERS_READY`).
"""

from __future__ import annotations

from holdfast.config.keys import Key
from holdfast.config.values import (
    COUNT,
    DURATION,
    DURATION_WITH_UNIT,
    FLAG,
    GIBIBYTES,
    MEBIBYTES,
    PATH,
    PORT,
    POSITIVE,
    RECORDS,
    SECRET,
    SIZE,
    SIZE_WITH_UNIT,
    TEXT,
    TEXT_OR_EMPTY,
    TEXTS,
    URL,
    WEIGHT,
    Kind,
    choice,
)

_NOWHERE: frozenset[str] = frozenset()
_BY_ITSELF = "Holdfast's cache keeps to its bound by itself, always"
_MIB_250 = 250 * 1024 * 1024

CACHE_KEYS: tuple[Key, ...] = (
    Key("cache.path", PATH, "the folder of the local cache"),
    Key(
        "cache.size_bytes",
        SIZE,
        "the cache's bound",
        short=("cache.size", SIZE_WITH_UNIT),
        yaml=("cache.size",),
        xml=("cache@size",),
        galaxy_kind=GIBIBYTES,
    ),
    Key(
        "cache.keep_written",
        FLAG,
        "what is written stays in the cache too",
        default=True,
        also=("cache.cache_updated_data",),
        yaml=("cache.cache_updated_data",),
        xml=("cache@cache_updated_data",),
    ),
    Key(
        "cache.dirs",
        RECORDS,
        "several folders of the cache",
        xml=None,
        records=(
            Key("path", PATH, "the folder", required=True),
            Key("weight", WEIGHT, "its share", default=1),
            Key(
                "size_bytes",
                SIZE,
                "its bound",
                short=("size", SIZE_WITH_UNIT),
                yaml=("size",),
                galaxy_kind=GIBIBYTES,
            ),
        ),
    ),
    Key("cache.monitor", TEXT, "", no_effect=_BY_ITSELF),
    Key("cache.monitor_interval", TEXT, "", xml_types=_NOWHERE, no_effect=_BY_ITSELF),
    Key(
        "enable_cache_monitor",
        TEXT,
        "",
        xml=("@enable_cache_monitor", "enable_cache_monitor"),
        no_effect=_BY_ITSELF,
    ),
)

LIMIT_KEYS: tuple[Key, ...] = (
    Key("limits.requests_per_second", POSITIVE, "how many requests one process makes at most", galaxy=False),
    Key("limits.bytes_per_second", SIZE, "how much one process moves at most, both ways together", galaxy=False),
    Key("limits.requests_at_once", POSITIVE, "how many requests of one process may be under way", galaxy=False),
    Key("retry.attempts", POSITIVE, "how often a request is made before it has failed", default=8, galaxy=False),
    Key(
        "retry.deadline_s",
        DURATION,
        "how long it is tried",
        default=60,
        short=("retry.deadline", DURATION_WITH_UNIT),
        galaxy=False,
    ),
)

_DIRECT = Key(
    "direct_download",
    FLAG,
    "downloads go to a signed address of the store itself",
    default=False,
    also=("enable_direct_download",),
    yaml=("enable_direct_download",),
    xml=("@enable_direct_download", "enable_direct_download"),
    galaxy_places=2,
)

_ACCESS = (
    Key("auth.access_key", SECRET, "the access key; empty: what the machine itself has (environment, role)"),
    Key("auth.secret_key", SECRET, "the secret key"),
)

_OWN_S3 = (
    Key("auth.session_token", SECRET, "the token of temporary keys", galaxy=False),
    Key("auth.credentials_file", PATH, "the keys stand in this file, as Amazon's tools write it", galaxy=False),
    Key("auth.profile", TEXT, "and under this name in it", galaxy=False),
    Key("bucket.storage_class", TEXT, "the storage class of what is written (STANDARD_IA, …)", galaxy=False),
    Key("connection.validate_certs", FLAG, "false: any certificate is taken", galaxy=False),
    Key(
        "connection.addressing",
        choice("path", "host"),
        "whether the bucket stands in the address's path (as if empty) or in front of its host",
        galaxy=False,
    ),
    Key(
        "connection.payload_signing",
        choice("auto", "always", "never"),
        "whether the bytes of uploads are signed too; auto or empty: over plain http to another machine",
        galaxy=False,
    ),
    Key(
        "connection.checksum",
        choice("sha256", "crc64nvme"),
        "a checksum that goes with each upload, for servers that compare it",
        galaxy=False,
    ),
    Key(
        "connection.conditional_writes",
        FLAG,
        "whether it obeys If-Match and If-None-Match in one step; empty: Amazon's do, of others it is found out",
        galaxy=False,
    ),
)

_BUCKET = Key("bucket.name", TEXT, "the bucket", required=True)
_REDUCED = Key("bucket.use_reduced_redundancy", FLAG, "S3's storage class REDUCED_REDUNDANCY", default=False)
_CHUNK_NAMES = ("bucket.max_chunk_size",)


def _old_s3(*, host_required: bool) -> tuple[Key, ...]:
    return (
        *_ACCESS,
        _BUCKET,
        _REDUCED,
        Key(
            "bucket.max_chunk_bytes",
            SIZE,
            "the largest part of an upload",
            default=_MIB_250,
            short=("bucket.max_chunk", SIZE_WITH_UNIT),
            yaml=_CHUNK_NAMES,
            xml=("bucket@max_chunk_size",),
            galaxy_kind=MEBIBYTES,
        ),
        Key("connection.host", TEXT, "the server", required=host_required),
        Key("connection.port", PORT, "its port", default=6000),
        Key("connection.is_secure", FLAG, "https instead of http", default=True),
        Key("connection.conn_path", TEXT_OR_EMPTY, "what stands before the bucket in addresses", default="/"),
        Key("connection.multipart", FLAG, "large uploads go in parts", default=True),
        Key("connection.region", TEXT, "the region"),
        *_OWN_S3,
        *CACHE_KEYS,
        *LIMIT_KEYS,
        _DIRECT,
    )


_TRANSFER: dict[str, tuple[str, str]] = {  # name -> (what it is, or why it is not kept)
    "multipart_threshold": ("what is larger goes in parts; bytes, 64 MiB at most", ""),
    "multipart_chunksize": ("the size of one part; bytes, 5 MiB at least", ""),
    "max_concurrency": ("how many parts of one blob go at the same time, 64 MiB together at most", ""),
    "use_threads": ("false: one part at a time", ""),
    "max_single_put_size": ("what is larger goes in blocks; bytes, 64 MiB at most", ""),
    "max_block_size": ("the size of one block; bytes, 5 MiB at least", ""),
    "max_single_get_size": ("the size of one range that is read; bytes", ""),
    "num_download_attempts": ("", "requests are repeated by Holdfast's own rule: write retry.attempts"),
    "max_io_queue": ("", "a reader holds 64 MiB at most, and needs no queue"),
    "io_chunksize": ("", "a reader holds 64 MiB at most, and needs no queue"),
    "max_bandwidth": ("", "bandwidth is limited for the whole pool: write limits.bytes_per_second"),
}


def _transfer(*names: str, prefixes: tuple[str, ...], flags: tuple[str, ...] = ()) -> tuple[Key, ...]:
    return tuple(
        Key(f"transfer.{prefix}{name}", _transfer_kind(name, flags), _TRANSFER[name][0], no_effect=_TRANSFER[name][1])
        for prefix in prefixes
        for name in (*names, *flags)
    )


def _transfer_kind(name: str, flags: tuple[str, ...]) -> Kind:
    return FLAG if name in flags else COUNT


_BOTH_WAYS = ("", "upload_", "download_")

_BOTO3: tuple[Key, ...] = (
    *_ACCESS,
    _BUCKET,
    Key("connection.endpoint_url", URL, "the server's address; empty: Amazon's"),
    Key("connection.region", TEXT, "the region"),
    Key("connection.host", TEXT, "the server, in the old way of saying endpoint_url"),
    Key("connection.port", PORT, "its port"),
    Key("connection.is_secure", FLAG, "https instead of http"),
    Key("connection.conn_path", TEXT_OR_EMPTY, "what stands before the bucket in addresses"),
    *_transfer(
        "multipart_threshold",
        "max_concurrency",
        "multipart_chunksize",
        "num_download_attempts",
        "max_io_queue",
        "io_chunksize",
        "max_bandwidth",
        prefixes=_BOTH_WAYS,
        flags=("use_threads",),
    ),
    *_OWN_S3,
    *CACHE_KEYS,
    *LIMIT_KEYS,
    _DIRECT,
)

_AZURE: tuple[Key, ...] = (
    Key("auth.account_name", TEXT, "the storage account", required=True),
    Key("auth.account_key", SECRET, "its key", required=True),
    Key("auth.account_url", URL, "its address, where it is not Azure's own"),
    Key("container.name", TEXT, "the container", required=True),
    Key("container.max_chunk_size", TEXT, "", no_effect="Galaxy reads it and never uses it"),
    *_transfer("max_concurrency", prefixes=("", "download_", "upload_")),
    *_transfer("max_single_put_size", "max_single_get_size", "max_block_size", prefixes=("",)),
    *CACHE_KEYS,
    *LIMIT_KEYS,
    _DIRECT,
)

_IN_CLOUD = ("auth.session_token", "auth.credentials_file", "connection.validate_certs")  # Galaxy has them there
_CLOUD: tuple[Key, ...] = (
    Key("provider", choice("aws", "azure", "google", "openstack"), "whose cloud", required=True),
    *_ACCESS,
    Key("auth.session_token", SECRET, "aws: the token of temporary keys"),
    Key("auth.region", TEXT, "the region", xml_types=_NOWHERE),
    Key("auth.subscription_id", TEXT, "", no_effect="the storage account says all that is needed"),
    Key("auth.client_id", TEXT, "azure: the client"),
    Key("auth.secret", SECRET, "azure: the client's secret"),
    Key("auth.tenant", TEXT, "azure: the tenant"),
    Key("auth.storage_account", TEXT, "azure: the storage account"),
    Key("auth.resource_group", TEXT, "", no_effect="the storage account says all that is needed"),
    Key("auth.access_token", SECRET, "azure: a token instead of a client's secret"),
    Key("auth.credentials_file", PATH, "google: the service account's file; aws: the file with the keys"),
    Key("auth.username", TEXT, "openstack: the user"),
    Key("auth.password", SECRET, "openstack: its password"),
    Key("auth.project_name", TEXT, "openstack: the project"),
    Key("auth.auth_url", URL, "openstack: Keystone's address"),
    Key("auth.user_domain_name", TEXT, "openstack: the user's domain"),
    Key("auth.project_domain_name", TEXT, "openstack: the project's domain"),
    Key("auth.application_credential_id", TEXT, "openstack: an application credential instead of a user"),
    Key("auth.application_credential_secret", SECRET, "openstack: its secret"),
    _BUCKET,
    _REDUCED,
    Key("bucket.max_chunk_size", TEXT, "", no_effect="Galaxy reads it and never uses it"),
    Key("connection.endpoint_url", URL, "the server's address"),
    Key("connection.validate_certs", FLAG, "whether its certificate must be right", default=True),
    Key("connection.signature_version", TEXT, "", no_effect="requests are signed by version 4, which all servers know"),
    Key("connection.region", TEXT, "", no_effect="the cloud type takes auth.region"),
    *_transfer("multipart_threshold", "multipart_chunksize", "max_concurrency", prefixes=_BOTH_WAYS),
    *(key for key in _OWN_S3 if key.name not in _IN_CLOUD),
    *CACHE_KEYS,
    *LIMIT_KEYS,
    _DIRECT,
)

_IRODS: tuple[Key, ...] = (
    Key("auth.username", TEXT, "the user", required=True),
    Key("auth.password", SECRET, "its password", required=True),
    Key("resource.name", TEXT, "the resource", required=True),
    Key("zone.name", TEXT, "the zone", required=True),
    Key("connection.host", TEXT, "the server", required=True),
    Key("connection.port", PORT, "its port", required=True),
    Key("connection.timeout", COUNT, "seconds to wait for an answer", default=30),
    Key("connection.refresh_time", COUNT, "seconds until a connection is made anew", default=300),
    Key(
        "connection.connection_pool_monitor_interval",
        TEXT,
        "",
        no_effect="Holdfast looks after its connections",
    ),
    Key("connection.poolsize", TEXT, "", no_effect="Galaxy stopped reading it long ago"),
    Key("ssl.client_server_negotiation", TEXT, "as in irods_environment.json"),
    Key("ssl.client_server_policy", TEXT, "as in irods_environment.json"),
    Key("ssl.encryption_algorithm", TEXT, "as in irods_environment.json"),
    Key("ssl.encryption_key_size", POSITIVE, "as in irods_environment.json"),
    Key("ssl.encryption_num_hash_rounds", POSITIVE, "as in irods_environment.json"),
    Key("ssl.encryption_salt_size", POSITIVE, "as in irods_environment.json"),
    Key("ssl.ssl_verify_server", TEXT, "as in irods_environment.json"),
    Key("ssl.ssl_ca_certificate_file", PATH, "as in irods_environment.json"),
    Key("logical.path", TEXT, "the collection; empty: /ZONE/home/USER"),
    *CACHE_KEYS,
)

_RUCIO: tuple[Key, ...] = (
    Key("upload_rse_name", TEXT, "where new data goes", xml=("upload_scheme@rse",)),
    Key("upload_scheme", TEXT, "how it goes there", xml=("upload_scheme@scheme",)),
    Key("scope", TEXT, "the scope of names", xml=("upload_scheme@scope",)),
    Key("register_only", FLAG, "only register", default=False, xml=("upload_scheme@register_only",)),
    Key(
        "download_schemes",
        RECORDS,
        "how data comes from each place",
        xml=("download_scheme",),
        records=(
            Key("rse", TEXT, "the place", required=True),
            Key("scheme", TEXT, "the scheme", required=True),
            Key("ignore_checksum", FLAG, "do not compare checksums", default=False),
        ),
    ),
    Key("account", TEXT, "the account", required=True, xml=("auth@account",)),
    Key("auth_host", URL, "the server that signs in", required=True, xml=("auth@host",)),
    Key("username", TEXT, "the user", xml=("auth@username",)),
    Key("password", SECRET, "its password", xml=("auth@password",)),
    Key("auth_type", TEXT, "how to sign in", default="userpass", xml=("auth@type",)),
    Key("host", URL, "the server", required=True, xml=("connection@host",)),
    Key("oidc_providers", TEXTS, "who may sign users in", xml=("oidc_provider",)),
    *CACHE_KEYS,
)

_ONEDATA: tuple[Key, ...] = (
    Key("auth.access_token", SECRET, "the token", required=True),
    Key("connection.onezone_domain", TEXT, "the Onezone server", required=True),
    Key("connection.disable_tls_certificate_validation", FLAG, "take any certificate", default=False),
    Key("space.name", TEXT, "the space", required=True),
    Key("space.galaxy_root_dir", TEXT, "the folder in it"),
    *CACHE_KEYS,
)

_PITHOS: tuple[Key, ...] = (
    Key("auth.url", URL, "the server", required=True),
    Key("auth.token", SECRET, "the token", required=True),
    Key("auth.ca_certs", PATH, "certificates to trust"),
    Key("auth.ignore_ssl", FLAG, "take any certificate"),
    Key("container.name", TEXT, "the container", required=True),
    Key("container.project", TEXT, "the project"),
)

REMOTE_KEYS: dict[str, tuple[Key, ...]] = {
    "aws_s3": _old_s3(host_required=False),
    "generic_s3": _old_s3(host_required=True),
    "boto3": _BOTO3,
    "azure_blob": _AZURE,
    "cloud": _CLOUD,
    "irods": _IRODS,
    "rucio": _RUCIO,
    "onedata": _ONEDATA,
    "pithos": _PITHOS,
}

REMOTE_WORDS: dict[str, str] = {
    "aws_s3": "Amazon S3. Galaxy also calls it `s3`.",
    "generic_s3": "Any S3 server (Ceph, MinIO, Swift's s3api). Galaxy also calls it `swift`.",
    "boto3": "Amazon S3 or any S3 server, in Galaxy's newer form.",
    "azure_blob": "Azure Blob Storage.",
    "cloud": "Amazon, Azure, Google or OpenStack, in Galaxy's CloudBridge form.",
    "irods": "iRODS.",
    "rucio": "Rucio.",
    "onedata": "Onedata.",
    "pithos": "Pithos+.",
}
