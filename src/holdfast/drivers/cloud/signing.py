"""Amazon's signature, version 4, over a query or over headers. Pure: it knows no network and no clock.

obstore signs the requests that it makes. This is for those that it does not know: addresses with
`response-content-disposition`, buckets, uploads that nobody finished.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from urllib.parse import quote, urlsplit

UNSIGNED = "UNSIGNED-PAYLOAD"
EXPIRES_S_MAX = 7 * 86_400
_ALGORITHM = "AWS4-HMAC-SHA256"
_ASCII_FALLBACK = str.maketrans(dict.fromkeys('"\\%;', "_"))
_PLAIN = "!#$&+-.^_`|~"  # attr-char of RFC 8187


@dataclass(frozen=True, slots=True)
class AwsKeys:
    """A key pair, and the token of a temporary one. `expires_us`: when it stops to be good."""

    access_key: str
    secret_key: str = field(repr=False)
    session_token: str | None = field(default=None, repr=False)
    expires_us: int | None = None


@dataclass(frozen=True, slots=True)
class Signer:
    """Signs for one region and one service, at one moment."""

    keys: AwsKeys
    region: str
    now_us: int
    service: str = "s3"

    def signed_url(self, method: str, url: str, query: Mapping[str, str], expires_s: int) -> str:
        """`url` (scheme, host and encoded path) with a query that anybody may use until it expires."""
        parts = urlsplit(url)
        asked = {
            **query,
            "X-Amz-Algorithm": _ALGORITHM,
            "X-Amz-Credential": f"{self.keys.access_key}/{self._scope}",
            "X-Amz-Date": self._time,
            "X-Amz-Expires": str(expires_s),
            "X-Amz-SignedHeaders": "host",
        }
        if self.keys.session_token:
            asked["X-Amz-Security-Token"] = self.keys.session_token
        encoded = canonical_query(asked)
        canonical = "\n".join([method, parts.path or "/", encoded, f"host:{parts.netloc}\n", "host", UNSIGNED])
        return f"{url}?{encoded}&X-Amz-Signature={self._signature(canonical)}"

    def signed_headers(
        self, method: str, url: str, query: Mapping[str, str], headers: Mapping[str, str], content: bytes = b"",
        *, digest: str | None = None,
    ) -> dict[str, str]:  # fmt: skip
        """The headers of a request, with `Authorization`. All of them are signed, and the content; or `digest`, which
        stands for it."""
        parts = urlsplit(url)
        digest = digest or hashlib.sha256(content).hexdigest()
        sent = {name.lower(): value.strip() for name, value in headers.items()}
        sent |= {"host": parts.netloc, "x-amz-content-sha256": digest, "x-amz-date": self._time}
        if self.keys.session_token:
            sent["x-amz-security-token"] = self.keys.session_token
        names = ";".join(sorted(sent))
        lines = "".join(f"{name}:{sent[name]}\n" for name in sorted(sent))
        canonical = "\n".join([method, parts.path or "/", canonical_query(query), lines, names, digest])
        sent["authorization"] = (
            f"{_ALGORITHM} Credential={self.keys.access_key}/{self._scope}, SignedHeaders={names}, "
            f"Signature={self._signature(canonical)}"
        )
        return sent

    @property
    def _time(self) -> str:
        return datetime.fromtimestamp(self.now_us // 1_000_000, UTC).strftime("%Y%m%dT%H%M%SZ")

    @property
    def _scope(self) -> str:
        return f"{self._time[:8]}/{self.region}/{self.service}/aws4_request"

    def _signature(self, canonical: str) -> str:
        hashed = hashlib.sha256(canonical.encode()).hexdigest()
        key = f"AWS4{self.keys.secret_key}".encode()
        for word in (self._time[:8], self.region, self.service, "aws4_request"):
            key = hmac.digest(key, word.encode(), "sha256")
        return hmac.digest(key, f"{_ALGORITHM}\n{self._time}\n{self._scope}\n{hashed}".encode(), "sha256").hex()


def encoded_path(key: str) -> str:
    """A key as it stands in an address."""
    return quote(key, safe="/~")


def canonical_query(query: Mapping[str, str]) -> str:
    """Sorted and encoded, as it is signed and as it is sent."""
    pairs = sorted((quote(name, safe="~"), quote(value, safe="~")) for name, value in query.items())
    return "&".join(f"{name}={value}" for name, value in pairs)


def disposition(filename: str) -> str:
    """The header by which a browser saves under this name: in ASCII for old programs, and in UTF-8 (RFC 6266)."""
    shown = "".join(char for char in filename if char.isprintable())
    plain = shown.encode("ascii", "replace").decode().replace("?", "_").translate(_ASCII_FALLBACK)
    if plain == shown:
        return f'attachment; filename="{plain}"'
    return f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(shown, safe=_PLAIN)}"
