"""What the web server needs to know, frozen: from the document's `server` section, with defaults."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal
from urllib.parse import urlsplit

MIB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class ServerSettings:
    """How the server behaves. Limits have documented defaults; None means "no limit".

    `public_url` is the address that people type; with it, cookies are `Secure` where it says https, and forms
    are accepted from it. `trusted_proxies` are the addresses whose `X-Forwarded-*` headers are believed
    (none by default). `allowed_hosts` refuses requests for any other name. `x_accel_prefix` maps a pool to
    nginx's internal location of its folder. `body_idle_s` is how long a body may be
    silent, `piece_idle_s` one that can be resumed. `calls_at_once` bounds the threads for calls into the hold,
    `blocks_at_once` those that read blocks of downloads, `uploads_at_once` the uploads that are taken in.
    """

    public_url: str | None = None
    trusted_proxies: frozenset[str] = frozenset()
    allowed_hosts: frozenset[str] = frozenset()
    cookie_name: str = "holdfast_session"
    session_lasts_s: int = 14 * 86_400
    direct: Literal["stream", "x-accel"] = "stream"
    x_accel_prefix: Mapping[str, str] = field(default_factory=dict)
    direct_download: Literal["never", "when-cold", "always"] = "when-cold"
    upload_bytes_max: int | None = None
    upload_lasts_s: int = 7 * 86_400
    uploads_per_owner_max: int = 1000
    body_idle_s: float = 60.0
    piece_idle_s: float = 20.0
    json_bytes_max: int = MIB
    calls_at_once: int = 40
    blocks_at_once: int = 16
    uploads_at_once: int = 128

    @property
    def public_netloc(self) -> str | None:
        """Host and port of the public address, as browsers send it in `Origin`."""
        return urlsplit(self.public_url).netloc.lower() if self.public_url else None

    @property
    def public_scheme(self) -> str | None:
        """`http` or `https`, where a public address is known."""
        return urlsplit(self.public_url).scheme.lower() if self.public_url else None

    @classmethod
    def of(cls, config: Any) -> ServerSettings:
        """The settings that a document asks for (its `server` section); defaults without one."""
        server = getattr(config, "server", None)
        if server is None:
            return cls()
        return cls(
            public_url=server.public_url,
            trusted_proxies=frozenset(server.trusted_proxies),
            allowed_hosts=frozenset(host.lower() for host in server.allowed_hosts),
            session_lasts_s=server.session_expires_after_s,
            direct=server.direct,
            x_accel_prefix=dict(server.x_accel_prefix),
            direct_download=server.direct_download,
            upload_bytes_max=server.max_upload_bytes,
            upload_lasts_s=server.upload_expires_after_s,
        )
