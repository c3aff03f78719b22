"""Everything that the driver has to be told about one bucket, as one frozen value.

`config.clouds` makes it out of a pool's keys. It never prints a secret.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import Literal
from urllib.parse import urlsplit

Service = Literal["s3", "azure", "google"]
Signing = Literal["auto", "always", "never"]

MIB = 1024 * 1024
GIB = 1024 * MIB
PART_BYTES = 16 * MIB
PART_BYTES_MIN = 5 * MIB  # S3's; the last part may be smaller
PARTS_MAX = 9_000  # S3 takes 10,000
UPLOAD_BYTES_MAX = 64 * MIB  # in the parts that one put sends at the same time
READ_PART_BYTES = 8 * MIB
READ_PARTS_MAX = 4  # at the same time, for one reader
SINGLE_PUT_BYTES_MAX = 64 * MIB  # it lies in memory
COPY_BYTES_MAX = 5 * GIB  # S3's limit for one server-side copy
DEFAULT_REGION = "us-east-1"


@dataclass(frozen=True, slots=True)
class CloudSettings:
    """One bucket (or container), and how to talk to it.

    `endpoint` is the server's address with what stands before the bucket in it; None is the provider's own.
    Empty keys: what the machine itself has. `conditions`: whether the server is known to let one of many create a name
    (If-None-Match); `if_match`: whether it replaces one version only. None: known for the providers' own servers, not
    for others. `signing`: whether the bytes of an upload are signed too; auto: over plain http to another machine.
    """

    service: Service
    bucket: str
    endpoint: str | None = None
    region: str | None = None
    access_key: str | None = None
    secret_key: str | None = field(default=None, repr=False)
    session_token: str | None = field(default=None, repr=False)
    credentials_file: str | None = None
    profile: str | None = None
    account_name: str | None = None
    account_key: str | None = field(default=None, repr=False)
    tenant_id: str | None = None
    client_id: str | None = None
    client_secret: str | None = field(default=None, repr=False)
    access_token: str | None = field(default=None, repr=False)
    validate_certs: bool = True
    virtual_hosted: bool = False
    storage_class: str | None = None
    checksum: Literal["sha256", "crc64nvme"] | None = None
    signing: Signing = "auto"
    conditions: bool | None = None
    if_match: bool | None = None
    multipart: bool = True
    multipart_from_bytes: int = PART_BYTES
    part_bytes: int = PART_BYTES
    put_parts_at_once: int = 4
    read_part_bytes: int = READ_PART_BYTES
    read_parts_at_once: int = READ_PARTS_MAX
    connect_timeout_s: float = 5.0
    read_timeout_s: float = 30.0
    timeout_s: float = 3600.0

    @property
    def sure_of_conditions(self) -> bool:
        """Whether one of many creates a name on this server, as far as anybody told us."""
        return self._providers_own if self.conditions is None else self.conditions

    @property
    def sure_of_versions(self) -> bool:
        """Whether one version only can be replaced on this server, as far as anybody told us."""
        return self._providers_own if self.if_match is None else self.if_match

    @property
    def _providers_own(self) -> bool:
        return self.endpoint is None or self.service != "s3"

    @property
    def unsigned_payload(self) -> bool:
        """Whether the bytes of an upload go without a signature of their own."""
        if self.signing != "auto":
            return self.signing == "never"
        if self.endpoint is None:
            return True
        parts = urlsplit(self.endpoint)
        return parts.scheme == "https" or _is_this_machine(parts.hostname or "")

    @property
    def place(self) -> str:
        """What messages call it: `bucket data at s3.example.org`."""
        what = "container" if self.service == "azure" else "bucket"
        host = urlsplit(self.endpoint).netloc if self.endpoint else ""
        own = {"s3": "Amazon", "azure": f"Azure account {self.account_name}", "google": "Google"}[self.service]
        return f"{what} {self.bucket} at {host.rpartition('@')[2] or own}"

    def part_bytes_for(self, size_bytes: int | None) -> int:
        """The size of one part of an upload of so many bytes; unknown sizes get room for 280 GiB and more."""
        wanted = max(PART_BYTES_MIN, self.part_bytes)
        if size_bytes is None:
            return max(wanted, 2 * PART_BYTES)
        return max(wanted, -(-size_bytes // PARTS_MAX))

    def parts_at_once_for(self, part_bytes: int) -> int:
        """How many parts go at the same time, so that memory is bounded."""
        return max(1, min(self.put_parts_at_once, UPLOAD_BYTES_MAX // part_bytes))

    @property
    def single_put_bytes_max(self) -> int:
        """Up to here a put is one request."""
        return self.multipart_from_bytes if self.multipart else SINGLE_PUT_BYTES_MAX


def _is_this_machine(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
