"""What obstore does not do on Azure: addresses with a file's name (its own break on names with blanks), and containers.

Signed with the account's key; an account that is known by a client's secret or a token only has neither.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import re
from datetime import UTC, datetime
from urllib.parse import quote

from holdfast.drivers.cloud.errors import Answer, RequestFailed
from holdfast.drivers.cloud.settings import CloudSettings
from holdfast.drivers.cloud.signing import canonical_query, disposition, encoded_path

_VERSION = "2022-11-02"
_START_BEFORE_S = 300  # clocks differ
_MAKING_S = 600
_CODE = re.compile(r"<Code>([A-Za-z]{1,80})</Code>")


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


def make_container(settings: CloudSettings, now_us: int) -> None:
    """Make it; one that is there already is left as it is."""
    import httpx

    start, end = _time(now_us, -_START_BEFORE_S), _time(now_us, _MAKING_S)
    signed = [str(settings.account_name), "c", "b", "c", start, end, "", "", _VERSION, "", ""]
    query = {
        "restype": "container", "sv": _VERSION, "ss": "b", "srt": "c", "sp": "c", "st": start, "se": end,
        "sig": _signature(settings, signed),
    }  # fmt: skip
    url = f"{_base(settings)}/{quote(settings.bucket)}?{canonical_query(query)}"
    timeout = httpx.Timeout(settings.read_timeout_s, connect=settings.connect_timeout_s)
    try:
        answer = httpx.put(url, timeout=timeout, verify=settings.validate_certs)
    except httpx.ConnectError:
        raise RequestFailed(Answer(trouble="refused", detail="no connection could be made")) from None
    except httpx.HTTPError as error:
        raise RequestFailed(Answer(trouble="lost", detail=type(error).__name__)) from None
    if answer.status_code >= 300 and answer.status_code != 409:
        code = _CODE.search(answer.text)
        raise RequestFailed(Answer(status=answer.status_code, code=code[1] if code else ""))


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
