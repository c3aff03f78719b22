"""What all lists share: `?limit=&after=`, the next page as a `Link`, and no unknown query keys."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any
from urllib.parse import urlencode

from fastapi import Query
from starlette.requests import Request
from starlette.responses import JSONResponse

from holdfast.server.problem import HttpProblem

LIMIT = 50
LIMIT_MAX = 500

Limit = Annotated[int, Query(ge=1, le=LIMIT_MAX, description="how many at most")]
After = Annotated[int | None, Query(ge=0, le=2**63 - 1, description="go on behind this id")]


def page(request: Request, items: Sequence[dict[str, Any]], limit: int, last: object) -> JSONResponse:
    """A list as an answer. Where it is full, `Link` leads to the next one, behind the item `last`."""
    headers = {}
    if len(items) >= limit:
        query = [(key, value) for key, value in request.query_params.multi_items() if key != "after"]
        query.append(("after", str(last)))
        headers["Link"] = f'<{request.url.path}?{urlencode(query)}>; rel="next"'
    return JSONResponse(list(items), headers=headers)


def _query_keys(dependant: Any) -> set[str]:
    keys = {parameter.alias for parameter in dependant.query_params}
    for inner in dependant.dependencies:
        keys |= _query_keys(inner)
    return keys


async def known_query_only(request: Request) -> None:
    """Refuse query keys that the route does not have: a typing error must not look like an answer."""
    if not request.query_params:
        return
    route = request.scope.get("route")
    dependant = getattr(route, "dependant", None)
    if dependant is None:
        return
    known = _query_keys(dependant)
    unknown = sorted(set(request.query_params) - known)
    if unknown:
        said = ", ".join(repr(key[:60]) for key in unknown[:5])
        offered = ", ".join(sorted(known)) or "none"
        raise HttpProblem(422, f"there is no query key {said} here; there are: {offered}")
