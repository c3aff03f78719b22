"""`/api/docs`: the API on one page, made from its OpenAPI document. No script, nothing from elsewhere."""

from __future__ import annotations

from html import escape
from typing import Any

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

router = APIRouter(include_in_schema=False)

_STYLE = """
:root { color-scheme: light dark; --line: #8884; --dim: #777; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.15rem; margin-top: 2.5rem; text-transform: capitalize; }
article { border-top: 1px solid var(--line); padding: .75rem 0; }
h3 { font: 600 1rem/1.5 ui-monospace, monospace; margin: 0; overflow-wrap: anywhere; }
p { margin: .25rem 0; }
dl { display: grid; grid-template-columns: minmax(8rem, auto) 1fr; gap: 0 1rem; margin: .5rem 0; }
dt { font-family: ui-monospace, monospace; } dd { margin: 0; } small { color: var(--dim); }
"""
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; frame-ancestors 'none'",
}


@router.get("/api/docs", response_class=HTMLResponse)
async def docs(request: Request) -> Response:
    """All routes with their parameters, for people."""
    document = request.app.openapi()
    return HTMLResponse(_page(document), headers=_HEADERS)


def _page(document: dict[str, Any]) -> str:
    groups: dict[str, list[str]] = {}
    for path, methods in document["paths"].items():
        for method, route in methods.items():
            groups.setdefault((route.get("tags") or ["other"])[0], []).append(_article(path, method, route))
    body = "".join(f"<section><h2>{escape(tag)}</h2>{''.join(articles)}</section>" for tag, articles in groups.items())
    title = escape(f"{document['info']['title']} {document['info']['version']}: HTTP API")
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{title}</title><style>{_STYLE}</style></head><body><main><h1>{title}</h1>"
        f"<p>{escape(document['info'].get('description', ''))}</p>"
        "<p>Send an API token as <code>Authorization: Bearer TOKEN</code> or <code>x-api-key: TOKEN</code>. "
        'The same for programs: <a href="/api/openapi.json">OpenAPI 3.1</a>.</p>'
        f"{body}</main></body></html>"
    )


def _article(path: str, method: str, route: dict[str, Any]) -> str:
    parameters = "".join(
        f"<dt>{escape(one['name'])} <small>{escape(one['in'])}</small></dt>"
        f"<dd>{escape(one.get('description', ''))} <small>{escape(_type_words(one.get('schema', {})))}</small></dd>"
        for one in route.get("parameters", [])
    )
    content = ", ".join(route.get("requestBody", {}).get("content", {}))
    body = f"<p>Body: <code>{escape(content)}</code></p>" if content else ""
    answers = ", ".join(route.get("responses", {}))
    return (
        f"<article><h3>{escape(method.upper())} {escape(path)}</h3>"
        f"<p>{escape(route.get('description') or route.get('summary') or '')}</p>"
        f"{'<dl>' + parameters + '</dl>' if parameters else ''}{body}"
        f"<p><small>Answers: {escape(answers)}</small></p></article>"
    )


def _type_words(schema: dict[str, Any]) -> str:
    if "anyOf" in schema:
        return " or ".join(_type_words(one) for one in schema["anyOf"])
    if "enum" in schema:
        return " | ".join(map(str, schema["enum"]))
    words = str(schema.get("type", ""))
    if "default" in schema and schema["default"] is not None:
        words += f", default {schema['default']}"
    return words
