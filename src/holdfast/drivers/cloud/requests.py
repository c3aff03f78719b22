"""The few S3 requests that obstore does not make, or not one by one: buckets, plain listings, uploads in parts.

Signed by us, sent with httpx. Listing is here because obstore's stops at the first name that is not one of its own
(`a//b`, `./x`); ours has to go on, and to say which names it passes over.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING
from urllib.parse import unquote_plus, urlsplit
from xml.parsers import expat
from xml.sax.saxutils import escape

from holdfast.drivers.cloud.credentials import CredentialChain
from holdfast.drivers.cloud.errors import Answer, RequestFailed, why_refused
from holdfast.drivers.cloud.settings import DEFAULT_REGION, CloudSettings
from holdfast.drivers.cloud.signing import UNSIGNED, Signer, canonical_query, encoded_path
from holdfast.seams import Clock

if TYPE_CHECKING:
    import httpx

    from holdfast.drivers.cloud.bulk import BulkWay

PAGE_MAX = 1000
PAUSE_S_MAX = 3600.0
_ASK_PAUSE_S = 3.0
_ANSWER_BYTES_MAX = 16 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Listed:
    """One line of a listing, whatever its name is."""

    name: str
    size_bytes: int
    tag: str
    modified_us: int


@dataclass(frozen=True, slots=True)
class Upload:
    """An upload in parts that was begun."""

    key: str
    upload_id: str
    begun_us: int


class Requests:
    """Requests to one bucket. Safe from many threads."""

    def __init__(
        self, settings: CloudSettings, credentials: CredentialChain, clock: Clock, http: httpx.Client
    ) -> None:
        self._settings, self._credentials, self._clock, self._http = settings, credentials, clock, http

    def url(self, key: str = "") -> str:
        """The address of the bucket, or of a blob in it."""
        settings = self._settings
        base = settings.endpoint or f"https://s3.{self._credentials.region}.amazonaws.com"
        if settings.virtual_hosted and settings.endpoint is None:
            base = f"https://{settings.bucket}.s3.{self._credentials.region}.amazonaws.com"
        bucket = "" if settings.virtual_hosted else f"/{encoded_path(settings.bucket)}"
        return base.rstrip("/") + bucket + (f"/{encoded_path(key)}" if key else "/" if not bucket else "")

    def signer(self) -> Signer | None:
        """Signs now; None if there are no keys that we know."""
        keys = self._credentials.keys()
        return None if keys is None else Signer(keys, self._credentials.region, self._clock.now_us())

    # -- the bucket ---------------------------------------------------------------------------------------

    def bucket_is_there(self) -> bool:
        """Whether the server knows the bucket. 403 is an answer too: it is there, and not ours to look at."""
        answer = self._send("HEAD", "")
        if answer.status_code == 404:
            return False
        if answer.status_code >= 500 or answer.status_code in (401, 429):
            raise RequestFailed(answer_of(answer))
        return True

    def make_bucket(self) -> None:
        """Make it. Amazon wants to hear the region, and so do some others; Ceph refuses one that it does not know."""
        region = self._credentials.region
        inside = f"<LocationConstraint>{escape(region)}</LocationConstraint>"
        xmlns = "http://s3.amazonaws.com/doc/2006-03-01/"
        where = f'<CreateBucketConfiguration xmlns="{xmlns}">{inside}</CreateBucketConfiguration>'.encode()
        must = region != DEFAULT_REGION and self._settings.endpoint is None
        answer = self._send("PUT", "", content=where if must else b"")
        if not must and answer.status_code >= 300 and "LocationConstraint" in answer_of(answer).code:
            answer = self._send("PUT", "", content=where)
        if answer.status_code >= 300 and answer_of(answer).code != "BucketAlreadyOwnedByYou":
            raise RequestFailed(answer_of(answer))

    def pause_s(self) -> float | None:
        """What the server answers to a look at its bucket as `Retry-After`; None if it does not say."""
        try:
            answer = self._send("HEAD", "", timeout_s=_ASK_PAUSE_S)
        except RequestFailed:
            return None
        return _retry_after_s(answer.headers.get("retry-after", ""), self._clock)

    # -- listings -----------------------------------------------------------------------------------------

    def page(self, prefix: str, after: str, limit: int = PAGE_MAX) -> tuple[list[Listed], bool]:
        """The next names in the order of their bytes, and whether there are more."""
        query = {"list-type": "2", "max-keys": str(limit), "encoding-type": "url"}
        query |= {name: value for name, value in (("prefix", prefix), ("start-after", after)) if value}
        found = parsed(self._good("GET", "", query), "Contents")
        decode = unquote_plus if found.top.get("EncodingType") == "url" else str
        lines = [
            Listed(
                decode(line.get("Key", "")),
                int(line.get("Size", "0")),
                line.get("ETag", "").strip('"'),
                _seconds_us(line.get("LastModified", "")),
            )
            for line in found.items
        ]
        return lines, found.top.get("IsTruncated") == "true"

    def uploads(self, after_key: str = "", after_id: str = "") -> tuple[list[Upload], tuple[str, str] | None]:
        """One page of uploads that were begun and not finished, and where the next page starts."""
        query = {"uploads": "", "max-uploads": str(PAGE_MAX), "encoding-type": "url"}
        if after_key:
            query |= {"key-marker": after_key, "upload-id-marker": after_id}
        answer = self._send("GET", "", query)
        if _is(answer, "NoSuchUpload"):  # some say so where there are none
            return [], None
        found = parsed(_checked(answer), "Upload")
        decode = unquote_plus if found.top.get("EncodingType") == "url" else str
        lines = [
            Upload(decode(line.get("Key", "")), line.get("UploadId", ""), _seconds_us(line.get("Initiated", "")))
            for line in found.items
        ]
        more = found.top.get("IsTruncated") == "true" and lines
        return lines, (lines[-1].key, lines[-1].upload_id) if more else None

    def begin_upload(self, key: str, headers: Mapping[str, str]) -> str:
        """Begin an upload in parts; its id."""
        answer = _checked(self._send("POST", key, {"uploads": ""}, headers=headers))
        upload_id = parsed(answer, "").top.get("UploadId", "")
        if not upload_id:
            raise RequestFailed(Answer(trouble="lost", detail="its answer could not be read"))
        return upload_id

    def put_part(self, way: BulkWay, key: str, upload_id: str, number: int, blocks: Sequence[memoryview]) -> str:
        """Send one part; its ETag."""
        signer = self.signer()
        if signer is None:
            raise RequestFailed(Answer(trouble="keys"))
        url, query = self.url(key), {"partNumber": str(number), "uploadId": upload_id}
        headers = signer.signed_headers("PUT", url, query, {}, digest=self._digest_of(blocks))
        answer = way.put(_target(f"{url}?{canonical_query(query)}"), headers, blocks)
        _checked(answer, self._clock)
        return str(answer.headers.get("etag", ""))

    def complete(self, key: str, upload_id: str, tags: Sequence[tuple[int, str]]) -> None:
        """Make one blob of the parts."""
        part = "<Part><PartNumber>{}</PartNumber><ETag>{}</ETag></Part>"
        lines = "".join(part.format(number, escape(tag)) for number, tag in tags)
        xmlns = "http://s3.amazonaws.com/doc/2006-03-01/"
        content = f'<CompleteMultipartUpload xmlns="{xmlns}">{lines}</CompleteMultipartUpload>'.encode()
        answer = _checked(self._send("POST", key, {"uploadId": upload_id}, content=content), self._clock).strip()
        code = parsed(answer, "").top.get("Code") if answer else None
        if code:  # it had said 200 before it knew
            raise RequestFailed(Answer(status=500, code=code))

    def upload_bytes(self, key: str, upload_id: str) -> int:
        """What the first thousand parts of an upload hold; 0 if it is gone."""
        answer = self._send("GET", key, {"uploadId": upload_id, "max-parts": str(PAGE_MAX)})
        if answer.status_code == 404:
            return 0
        return sum(int(part.get("Size", "0")) for part in parsed(_checked(answer), "Part").items)

    def abort(self, key: str, upload_id: str) -> None:
        """Give up an upload. Idempotent."""
        answer = self._send("DELETE", key, {"uploadId": upload_id})
        if answer.status_code >= 300 and answer.status_code != 404:
            raise RequestFailed(answer_of(answer))

    # -- inside -------------------------------------------------------------------------------------------

    def _good(self, method: str, key: str, query: Mapping[str, str]) -> bytes:
        return _checked(self._send(method, key, query))

    def _send(
        self,
        method: str,
        key: str,
        query: Mapping[str, str] | None = None,
        *,
        content: bytes = b"",
        headers: Mapping[str, str] | None = None,
        timeout_s: float | None = None,
    ) -> httpx.Response:
        import httpx

        signer = self.signer()
        if signer is None:
            raise RequestFailed(Answer(trouble="keys"))
        url = self.url(key)
        signed = signer.signed_headers(method, url, query or {}, headers or {}, content)
        address = f"{url}?{canonical_query(query)}" if query else url
        raw = httpx.URL(address).copy_with(raw_path=_target(address))
        timeout = httpx.USE_CLIENT_DEFAULT if timeout_s is None else timeout_s
        with sending():
            return self._http.request(method, raw, headers=signed, content=content, timeout=timeout)

    def _digest_of(self, blocks: Sequence[memoryview]) -> str:
        if self._settings.unsigned_payload:
            return UNSIGNED
        digest = hashlib.sha256()
        for block in blocks:
            digest.update(block)
        return digest.hexdigest()


@contextlib.contextmanager
def sending() -> Iterator[None]:
    """What goes wrong on the way becomes a `RequestFailed`."""
    import httpx

    try:
        yield
    except httpx.ConnectTimeout:
        raise RequestFailed(Answer(trouble="refused", detail="it did not answer in time")) from None
    except httpx.ConnectError as error:
        raise RequestFailed(Answer(trouble="refused", detail=why_refused(str(error)))) from None
    except httpx.TimeoutException:
        raise RequestFailed(Answer(trouble="lost", detail="it did not answer in time")) from None
    except httpx.HTTPError:
        raise RequestFailed(Answer(trouble="lost", detail="the connection broke, or the answer was cut off")) from None


def _target(address: str) -> bytes:
    """Path and query just as they were signed."""
    parts = urlsplit(address)
    return f"{parts.path or '/'}{'?' if parts.query else ''}{parts.query}".encode("ascii")


def _checked(answer: httpx.Response, clock: Clock | None = None) -> bytes:
    if answer.status_code >= 300:
        found = answer_of(answer)
        if clock is not None:
            found = replace(found, retry_after_s=_retry_after_s(answer.headers.get("retry-after", ""), clock))
        raise RequestFailed(found)
    return answer.content


def _is(answer: httpx.Response, code: str) -> bool:
    return answer.status_code >= 300 and answer_of(answer).code == code


def answer_of(answer: httpx.Response) -> Answer:
    """What a response that is no success says."""
    code = ""
    if answer.content:
        try:
            code = parsed(answer.content, "").top.get("Code", "")
        except RequestFailed:
            code = ""
    if answer.status_code in (301, 307):
        return Answer(trouble="region")
    return Answer(status=answer.status_code, code=code)


def _retry_after_s(text: str, clock: Clock) -> float | None:
    """Seconds, or a date (RFC 9110)."""
    if not text:
        return None
    try:
        seconds = float(text)
    except ValueError:
        try:
            seconds = parsedate_to_datetime(text).timestamp() - clock.now_us() / 1e6
        except ValueError:
            return None
    return min(max(seconds, 0.0), PAUSE_S_MAX)


def _seconds_us(text: str) -> int:
    """A time of a listing, in whole seconds as headers have them."""
    try:
        return int(datetime.fromisoformat(text).timestamp()) * 1_000_000
    except ValueError:
        return 0


class _Document:
    """A flat answer in XML: the elements named `item`, each with its children's texts, and the other texts on top."""

    def __init__(self, item: str) -> None:
        self.top: dict[str, str] = {}
        self.items: list[dict[str, str]] = []
        self._item = item
        self._inside: dict[str, str] | None = None
        self._text: list[str] = []

    def start(self, name: str, _: Mapping[str, str]) -> None:
        self._text.clear()
        if name == self._item:
            self._inside = {}

    def text(self, part: str) -> None:
        self._text.append(part)

    def end(self, name: str) -> None:
        text = "".join(self._text)
        self._text.clear()
        if name == self._item and self._inside is not None:
            self.items.append(self._inside)
            self._inside = None
        elif self._inside is not None:
            self._inside.setdefault(name, text)
        else:
            self.top.setdefault(name, text)


def parsed(content: bytes, item: str) -> _Document:
    """The answer; a document with definitions of its own is refused, not expanded."""
    document = _Document(item)
    parser = expat.ParserCreate()
    parser.StartElementHandler, parser.EndElementHandler = document.start, document.end
    parser.CharacterDataHandler = document.text
    parser.buffer_text = True

    def refuse(*_: object) -> None:
        raise expat.ExpatError

    parser.StartDoctypeDeclHandler = refuse
    try:
        if len(content) > _ANSWER_BYTES_MAX:
            refuse()
        parser.Parse(content, True)  # noqa: FBT003 - that is how expat is told that nothing follows
    except expat.ExpatError:
        raise RequestFailed(Answer(trouble="lost", detail="its answer could not be read")) from None
    return document
