"""docs/reference/http.md: every route of the API, from its OpenAPI document."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from docs.making.throwaway import throwaway_hold

_HEAD = """\
# HTTP

<!-- Made from the server's OpenAPI document by `make docs`. Edit src/holdfast/server/, not this page. -->

A running server shows the same at `/api/docs`, and as OpenAPI 3.1 at `/api/openapi.json`, with the types of
every body and answer.

Send a token as `Authorization: Bearer TOKEN` or `x-api-key: TOKEN`; `holdfast token new EMAIL` makes one. A
browser's session works too; then whatever changes something must also send the session's CSRF token. Everybody
sees their own datasets, jobs and uploads, an administrator sees all; what somebody may not see is answered
with 404, as if it were not there.

Errors are `application/problem+json`; [errors](errors.md) lists them. Lists take `limit` (at most 500) and
`after`; where there may be more, the header `Link: <...>; rel="next"` leads on. A query key that a route does
not have is refused.
"""

_FRAMEWORK = frozenset({"HTTPValidationError", "ValidationError"})


def page() -> str:
    """The whole page."""
    document = openapi()
    return "\n".join([_HEAD, *_sections(document), *_shapes(document)]).rstrip() + "\n"


def openapi() -> dict[str, Any]:
    """The OpenAPI document of a server."""
    from holdfast.server.app import create_app

    with throwaway_hold() as hold:
        document: dict[str, Any] = create_app(hold).api.openapi()
    return document


def routes(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """(METHOD, path, what OpenAPI says) of each route."""
    for path, methods in document["paths"].items():
        for method, route in methods.items():
            yield method.upper(), path, route


def _sections(document: dict[str, Any]) -> Iterator[str]:
    groups: dict[str, list[tuple[str, str, dict[str, Any]]]] = {}
    for method, path, route in routes(document):
        groups.setdefault((route.get("tags") or ["other"])[0], []).append((method, path, route))
    for tag, members in groups.items():
        yield f"## {tag.capitalize()}\n"
        for method, path, route in members:
            yield _route(method, path, route)


def _shapes(document: dict[str, Any]) -> Iterator[str]:
    yield "## Shapes\n\nThe JSON of bodies and answers. `?` marks what may be null, `*` what must be given.\n"
    for name, schema in sorted(document["components"]["schemas"].items()):
        if name in _FRAMEWORK:
            continue
        words = " ".join(schema.get("description", "").split())
        rows = [
            f"| `{field}`{_mark(field, one, schema)} | {_type_words(one)} | {_cell(one.get('description', ''))} |"
            for field, one in schema.get("properties", {}).items()
        ]
        yield "\n".join([f"### {name}\n", f"{words}\n", "| member | type | |", "|---|---|---|", *rows, ""])


def _mark(field: str, schema: dict[str, Any], of: dict[str, Any]) -> str:
    null = any(one.get("type") == "null" for one in schema.get("anyOf", ()))
    return "?" if null else "*" if field in of.get("required", ()) else ""


def _route(method: str, path: str, route: dict[str, Any]) -> str:
    words = " ".join((route.get("description") or route.get("summary") or "").split())
    parts = [f"### {method} {path}\n", f"{words}\n"]
    rows = [
        f"| `{one['name']}` | {one['in']} | {_type_words(one.get('schema', {}))} | "
        f"{_cell(one.get('description', ''))} |"
        for one in route.get("parameters", [])
    ]
    if rows:
        parts.append("\n".join(["| parameter | in | type | |", "|---|---|---|---|", *rows, ""]))
    bodies = [
        f"`{kind}`" + (f" ({_type_words(content['schema'])})" if "$ref" in content.get("schema", {}) else "")
        for kind, content in route.get("requestBody", {}).get("content", {}).items()
    ]
    if bodies:
        parts.append(f"Body: {', '.join(bodies)}.\n")
    answers = ", ".join(
        status + (f" `{_answer_words(answer)}`" if _answer_words(answer) else "")
        for status, answer in route.get("responses", {}).items()
    )
    parts.append(f"Answers: {answers}.\n")
    return "\n".join(parts)


def _answer_words(answer: dict[str, Any]) -> str:
    """The shape of an answer. What the framework believes of errors is left out: they are problem+json."""
    for content in answer.get("content", {}).values():
        words = _type_words(content.get("schema", {}))
        if words and words[0].isupper() and words not in _FRAMEWORK:
            return words
    return ""


def _type_words(schema: dict[str, Any]) -> str:
    if "$ref" in schema:
        return str(schema["$ref"]).rpartition("/")[2]
    if "anyOf" in schema:
        return " or ".join(_type_words(one) for one in schema["anyOf"] if one.get("type") != "null")
    if "enum" in schema:
        return ", ".join(map(str, schema["enum"]))
    if schema.get("type") == "array":
        inner = _type_words(schema.get("items", {}))
        return f"{inner[:1].upper()}{inner[1:]}[]" if inner[:1].isupper() else f"{inner}[]"
    return str(schema.get("type", ""))  # nothing for what may be anything


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;")
