"""What a form sent, as plain texts with limits. The guard has checked its CSRF token before it comes here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated
from urllib.parse import parse_qs

from fastapi import Depends, Request

from holdfast.server.problem import HttpProblem

FORM_BYTES_MAX = 256 * 1024
FIELDS_MAX = 1000


class Form:
    """Fields by name. A field that was not sent is an empty text."""

    def __init__(self, fields: Mapping[str, list[str]]) -> None:
        self._fields = fields

    def __contains__(self, name: str) -> bool:
        return name in self._fields

    def text(self, name: str) -> str:
        """The field, without blanks around it."""
        return self.raw(name).strip()

    def raw(self, name: str) -> str:
        """The field exactly as it was typed: for passwords."""
        return self._fields.get(name, [""])[0]

    def texts(self, name: str) -> list[str]:
        """Every value of a field that may be sent more than once, without blanks around them."""
        return [value.strip() for value in self._fields.get(name, [])]

    def raws(self, name: str) -> list[str]:
        """The same exactly as they were sent."""
        return list(self._fields.get(name, []))

    def numbers(self, name: str) -> list[int]:
        """Every value that is a whole number."""
        return [int(value) for value in self.texts(name) if value.isascii() and value.isdigit() and len(value) < 20]


async def _read(request: Request) -> Form:
    if "application/x-www-form-urlencoded" not in request.headers.get("content-type", ""):
        return Form({})
    body = bytearray()
    async for block in request.stream():
        body += block
        if len(body) > FORM_BYTES_MAX:
            raise HttpProblem(413, f"a form may have {FORM_BYTES_MAX} bytes")
    try:
        fields = parse_qs(body.decode("utf-8", "replace"), keep_blank_values=True, max_num_fields=FIELDS_MAX)
    except ValueError as error:
        raise HttpProblem(413, f"a form may have {FIELDS_MAX} fields") from error
    return Form(fields)


Sent = Annotated[Form, Depends(_read)]
