"""What obstore does not do on Azure: addresses with a file's name (its own break on names with blanks), containers, and
listings that go on over names that it does not take.

Signed with the account's key; an account that is known by a client's secret or a token only has neither.
"""

from __future__ import annotations

import base64
import binascii
import hmac
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING
from urllib.parse import quote

from holdfast.drivers.cloud.errors import Answer, RequestFailed
from holdfast.drivers.cloud.requests import PAGE_MAX, Listed, answer_of, parsed, sending
from holdfast.drivers.cloud.settings import CloudSettings
from holdfast.drivers.cloud.signing import canonical_query, disposition, encoded_path

if TYPE_CHECKING:
    import httpx

_VERSION = "2022-11-02"
_START_BEFORE_S = 300  # clocks differ
_ASKING_S = 600


def can_sign(settings: CloudSettings) -> bool:
    """Whether there is a key to sign with."""
    return bool(settings.account_name and settings.account_key)


def blob_url(
    settings: CloudSettings, key: str, method: str, now_us: int, expires_s: int, *, filename: str | None
) -> str:
    """An address by which anybody can read or write this blob until it expires."""
    start, end = _time(now_us, -_START_BEFORE_S), _time(now_us, expires_s)
    rights = "r" if method == "GET" else "cw"
    shown = "" if filename is None else disposition(filename)
    resource = f"/blob/{settings.account_name}/{settings.bucket}/{key}"
    signed = [rights, start, end, resource, "", "", "", _VERSION, "b", "", "", "", shown, "", "", ""]
    query = {"sp": rights, "st": start, "se": end, "sv": _VERSION, "sr": "b", "sig": _signature(settings, signed)}
    if shown:
        query["rscd"] = shown
    return f"{_base(settings)}/{encoded_path(settings.bucket)}/{encoded_path(key)}?{canonical_query(query)}"


def page(
    http: httpx.Client, settings: CloudSettings, prefix: str, marker: str, now_us: int
) -> tuple[list[Listed], str]:
    """The next names in the order of their bytes, and where to go on; empty at the end."""
    resource = f"/blob/{settings.account_name}/{settings.bucket}"
    start, end = _time(now_us, -_START_BEFORE_S), _time(now_us, _ASKING_S)
    signed = ["l", start, end, resource, "", "", "", _VERSION, "c", "", "", "", "", "", "", ""]
    query = {
        "restype": "container", "comp": "list", "maxresults": str(PAGE_MAX), "sp": "l", "st": start, "se": end,
        "sv": _VERSION, "sr": "c", "sig": _signature(settings, signed),
    }  # fmt: skip
    query |= {name: value for name, value in (("prefix", prefix), ("marker", marker)) if value}
    found = parsed(_ask(http, settings, "GET", query), "Blob")
    lines = [
        Listed(
            line.get("Name", ""),
            int(line.get("Content-Length", "0")),
            line.get("Etag", "").strip('"'),
            int(parsedate_to_datetime(line["Last-Modified"]).timestamp()) * 1_000_000,
        )
        for line in found.items
    ]
    return lines, found.top.get("NextMarker", "")


def make_container(http: httpx.Client, settings: CloudSettings, now_us: int) -> None:
    """Make it; one that is there already is left as it is."""
    start, end = _time(now_us, -_START_BEFORE_S), _time(now_us, _ASKING_S)
    signed = [str(settings.account_name), "c", "b", "c", start, end, "", "", _VERSION, "", ""]
    query = {
        "restype": "container", "sv": _VERSION, "ss": "b", "srt": "c", "sp": "c", "st": start, "se": end,
        "sig": _signature(settings, signed),
    }  # fmt: skip
    try:
        _ask(http, settings, "PUT", query)
    except RequestFailed as failed:
        if failed.answer.status != 409:
            raise


def _ask(http: httpx.Client, settings: CloudSettings, method: str, query: dict[str, str]) -> bytes:
    url = f"{_base(settings)}/{quote(settings.bucket)}?{canonical_query(query)}"
    with sending():
        answer = http.request(method, url)
    if answer.status_code >= 300:
        raise RequestFailed(answer_of(answer))
    return answer.content


def _base(settings: CloudSettings) -> str:
    return settings.endpoint or f"https://{settings.account_name}.blob.core.windows.net"


def _time(now_us: int, plus_s: int) -> str:
    return datetime.fromtimestamp(now_us // 1_000_000 + plus_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _signature(settings: CloudSettings, lines: list[str]) -> str:
    try:
        key = base64.b64decode(settings.account_key or "", validate=True)
    except binascii.Error:
        raise RequestFailed(Answer(trouble="keys", detail="the account's key is not base64")) from None
    return base64.b64encode(hmac.digest(key, "\n".join(lines).encode(), "sha256")).decode()
