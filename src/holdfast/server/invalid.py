"""What is wrong with a request that does not have the form it must have, in plain words.

Where it was found out is the frameworks' business; what they say ("Input should be a valid integer, unable to parse
string as an integer") is for programmers. A page whose address is none ("/jobs/x") is a page that is not there.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fastapi.exceptions import RequestValidationError

from holdfast.server.problem import HttpProblem, NotFoundHere, title_of_status

MISTAKES_MAX = 10
VALUE_CHARS_MAX = 60

_PLAIN = {
    "bool_parsing": "is neither true nor false",
    "bool_type": "is neither true nor false",
    "dict_type": "is no object",
    "model_attributes_type": "is no JSON object",
    "extra_forbidden": "is not known here",
    "greater_than": "is not more than {gt}",
    "greater_than_equal": "is less than {ge}",
    "int_from_float": "is no whole number",
    "int_parsing": "is no whole number",
    "int_parsing_size": "is too large",
    "int_type": "is no whole number",
    "less_than": "is not less than {lt}",
    "less_than_equal": "is more than {le}",
    "list_type": "is no list",
    "literal_error": "is none of {expected}",
    "missing": "is missing",
    "string_too_long": "is longer than {max_length} characters",
    "string_too_short": "is shorter than {min_length} characters",
    "string_type": "is no text",
    "too_long": "has more than {max_length} entries",
    "too_short": "has fewer than {min_length} entries",
}


def invalid_request(error: RequestValidationError, *, for_a_person: bool) -> HttpProblem:
    """The answer to such a request: 422 with every mistake, or 404 for the address of a page that cannot be."""
    mistakes = error.errors()[:MISTAKES_MAX]
    if for_a_person and mistakes and all(_place(mistake)[0] == "path" for mistake in mistakes):
        name, value = _place(mistakes[0])[-1], str(mistakes[0].get("input", ""))
        return NotFoundHere(f"{name} {value[:VALUE_CHARS_MAX]}".strip())
    if any(mistake.get("type") == "json_invalid" for mistake in mistakes):
        return HttpProblem(422, "the body is no JSON")
    return HttpProblem(422, "; ".join(_said(mistake) for mistake in mistakes) or title_of_status(422))


def _place(mistake: Mapping[str, Any]) -> list[str]:
    """`query`, `path` or `body`, and the names below it."""
    return [str(part) for part in mistake.get("loc", ())] or ["request"]


def _said(mistake: Mapping[str, Any]) -> str:
    place = _place(mistake)
    where = ".".join(place[1:]) or place[0]
    plain = _PLAIN.get(str(mistake.get("type")))
    if plain is None:
        return f"{where}: {mistake.get('msg', 'is wrong')}"
    return f"{where} {plain.format_map(_Known(mistake.get('ctx') or {}))}"


class _Known(dict[str, Any]):
    """What a mistake brings with it; what it does not bring shows as it is."""

    def __missing__(self, key: str) -> str:
        return f"{{{key}}}"
