"""The face of the API: shapes, pages of lists, errors, headers, documents."""

from __future__ import annotations

import json
import threading

import httpx
import pytest
from pydantic import TypeAdapter
from tests.api.served import ADMIN, ALICE, Served, add_people, make_hold, running

from holdfast import __version__
from holdfast.errors import HoldfastError, NoSpace, Unavailable
from holdfast.server.api import service, shapes
from holdfast.server.settings import ServerSettings

PROBLEM = TypeAdapter(shapes.Problem)


def test_answers_are_what_the_document_says(served: Served, alice: httpx.Client, admin: httpx.Client):
    made = alice.post("/api/datasets?name=a&labels=k=v", content=b"x").json()
    TypeAdapter(shapes.Dataset).validate_python(made, strict=True)
    assert set(made) >= {
        "id", "uuid", "name", "owner", "state", "size_bytes", "total_bytes", "checksum", "created",
        "object_store_id", "full_path", "replicas", "placement", "labels",
    }  # fmt: skip
    for path, model in (
        ("/api/datasets", list[shapes.Dataset]),
        (f"/api/datasets/{made['id']}/storage", shapes.Storage),
        ("/api/pools", list[shapes.Pool]),
        ("/api/pools/newdata", shapes.Pool),
        ("/api/explain?size=1000", list[shapes.Verdict]),
        ("/api/whoami", shapes.Account),
        ("/api/events/log", list[shapes.Event]),
    ):
        TypeAdapter(model).validate_python(alice.get(path).json(), strict=True)
    job = alice.post("/api/jobs", json={"command": ["true"]})
    assert job.status_code == 201
    TypeAdapter(shapes.Job).validate_python(job.json())
    operation = admin.post("/api/operations", json={"kind": "scrub"})
    assert operation.status_code == 201, operation.text
    TypeAdapter(shapes.Operation).validate_python(operation.json())
    dry = admin.post("/api/operations", json={"kind": "scrub", "dry_run": True})
    assert set(dry.json()) == {"kind", "objects", "bytes", "from", "to", "blockers", "seconds_estimate"}


def test_datasets_are_listed_by_their_labels(served: Served, alice: httpx.Client, admin: httpx.Client):
    ids = [
        served.hold.put(b"x", name=f"n{at}", owner=ALICE, labels={"project": "apollo 11", "run": str(at % 2)}).id
        for at in range(7)
    ]
    served.hold.put(b"x", name="others", owner=ADMIN, labels={"project": "apollo 11"})
    asked = {"label": ["project=apollo 11", "run=1"], "limit": 2}
    answer = alice.get("/api/datasets", params=asked)
    seen = [one["id"] for one in answer.json()]
    while "next" in answer.links:
        answer = alice.get(answer.links["next"]["url"])
        seen += [one["id"] for one in answer.json()]
    assert seen == ids[1::2][::-1]
    assert len(alice.get("/api/datasets", params={"label": "project=apollo 11"}).json()) == 7, "one's own alone"
    assert len(admin.get("/api/datasets", params={"label": "project=apollo 11"}).json()) == 8
    assert alice.get("/api/datasets", params={"label": "project=apollo"}).json() == []
    for wrong in ("project", "=apollo", ""):
        refused = alice.get("/api/datasets", params={"label": wrong})
        assert refused.status_code == 422
        assert "k=v" in PROBLEM.validate_python(refused.json()).detail
    assert alice.get("/api/datasets", params={"label": [f"k{at}=v" for at in range(9)]}).status_code == 422
    changed = alice.patch(f"/api/datasets/{ids[0]}", json={"labels": {"project": "gemini"}})
    assert changed.json()["labels"] == {"project": "gemini"}
    assert [one["id"] for one in alice.get("/api/datasets", params={"label": "project=gemini"}).json()] == [ids[0]]


def test_lists_page_to_their_end_and_hold_everything_once(served: Served, alice: httpx.Client):
    ids = [served.hold.put(b"x", name=f"n{at}", owner=ALICE).id for at in range(23)]
    seen, path, pages = [], "/api/datasets?limit=5&name=n", 0
    while path:
        answer = alice.get(path)
        seen += [one["id"] for one in answer.json()]
        path = answer.links.get("next", {}).get("url", "")
        pages += 1
        if path:
            assert "name=n" in path
            assert "limit=5" in path
    assert seen == ids[::-1]
    assert pages == 5
    assert [one["name"] for one in alice.get("/api/datasets?name=N7").json()] == ["n7"]


def test_filters(served: Served, alice: httpx.Client):
    alice.post("/api/datasets?name=a&pool=olddata", content=b"x")
    gone = alice.post("/api/datasets?name=b", content=b"x").json()["id"]
    alice.delete(f"/api/datasets/{gone}")
    assert [one["name"] for one in alice.get("/api/datasets").json()] == ["a"]
    assert [one["name"] for one in alice.get("/api/datasets?state=deleted").json()] == ["b"]
    assert [one["name"] for one in alice.get("/api/datasets?pool=olddata").json()] == ["a"]
    assert alice.get("/api/datasets?pool=newdata").json() == []


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/api/datasets?limt=5", 422),
        ("/api/datasets?limit=0", 422),
        ("/api/datasets?limit=501", 422),
        ("/api/datasets?after=-1", 422),
        ("/api/datasets?after=x", 422),
        ("/api/datasets?after=" + "9" * 40, 422),
        ("/api/datasets?state=nonsense", 422),
        ("/api/datasets/0", 404),
        ("/api/datasets/-1", 404),
        ("/api/datasets/9223372036854775807", 404),
        ("/api/datasets/9223372036854775808", 404),
        ("/api/datasets/" + "9" * 500, 404),
        ("/api/datasets/abc", 404),
        ("/api/datasets/../../etc/passwd", 404),
        ("/api/datasets/%2e%2e%2fx", 404),
        ("/api/datasets/1%00", 404),
        ("/api/datasets/00000000-0000-0000-0000-000000000000", 404),
        ("/api/pools/nowhere", 404),
        ("/api/pools/%00", 404),
        ("/api/jobs/9223372036854775808", 404),
        ("/api/jobs/x", 422),
        ("/api/operations/0", 403),
        ("/api/nothing", 404),
        ("/nothing", 404),
        ("/api/explain?size=-1", 422),
        ("/healthz?x=1", 422),
    ],
)
def test_every_error_is_a_problem(alice: httpx.Client, path: str, status: int):
    answer = alice.get(path)
    assert answer.status_code == status, answer.text
    assert_problem(answer)


def assert_problem(answer: httpx.Response) -> None:
    assert answer.headers["content-type"] == "application/problem+json"
    problem = PROBLEM.validate_python(answer.json(), strict=True)
    assert problem.status == answer.status_code
    assert problem.title
    assert problem.detail
    assert "Traceback" not in answer.text
    assert ".py" not in answer.text


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("DELETE", "/api/pools/newdata", None, 405),
        ("PUT", "/api/datasets", None, 405),
        ("PATCH", "/api/pools/newdata", b"{", 422),
        ("PATCH", "/api/pools/newdata", b'{"state": "gone"}', 422),
        ("PATCH", "/api/pools/newdata", b'{"state": "active", "more": 1}', 422),
        ("PATCH", "/api/pools/newdata", b"\xff\xfe", 422),
        ("PATCH", "/api/pools/nowhere", b'{"state": "active"}', 404),
        ("POST", "/api/jobs", b'{"command": []}', 422),
        ("POST", "/api/jobs", b'{"command": "rm -rf /"}', 422),
        ("POST", "/api/jobs", b'{"command": ["x"], "pool": "nowhere"}', 404),
        ("POST", "/api/operations", b'{"kind": "nonsense"}', 422),
        ("POST", "/api/operations/7/explode", None, 422),
        ("POST", "/api/users", b'{"email": "no address"}', 422),
        ("POST", "/api/users", b'{"email": "alice@example.org"}', 409),
        ("POST", "/api/users", b'{"email": "new@example.org", "password": "short"}', 422),
        ("PATCH", "/api/users/1", b'{"is_admin": false}', 409),
        ("DELETE", "/api/tokens/nothing", None, 404),
        ("POST", "/api/datasets", None, 422),
    ],
)
def test_wrong_requests_are_problems_too(admin: httpx.Client, method: str, path: str, body: bytes | None, status: int):
    headers = {"Content-Type": "application/json"} if body is not None else {}
    answer = admin.request(method, path, content=body, headers=headers)
    assert answer.status_code == status, answer.text
    assert_problem(answer)


def test_bodies_of_ordinary_requests_have_a_limit(tmp_path):
    with make_hold(tmp_path) as hold, running(hold, tmp_path, ServerSettings(json_bytes_max=10_000)) as served:
        add_people(served)
        with served.client(ADMIN) as client:
            long = json.dumps({"state": "x" * 20_000}).encode()
            answer = client.patch("/api/pools/newdata", content=long, headers={"Content-Type": "application/json"})
            assert answer.status_code == 413
            assert_problem(answer)
            chunked = (long[at : at + 1000] for at in range(0, len(long), 1000))
            answer = client.patch("/api/pools/newdata", content=chunked, headers={"Content-Type": "application/json"})
            assert answer.status_code == 413
            assert_problem(answer)
            deep = b'{"state":' * 900
            answer = client.patch("/api/pools/newdata", content=deep, headers={"Content-Type": "application/json"})
            assert answer.status_code in {400, 422}


def test_what_nobody_expected_says_nothing_of_its_inside(served: Served, alice: httpx.Client, monkeypatch):
    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError("the secret of /etc/passwd")

    monkeypatch.setattr(served.hold.catalog.datasets, "page", broken)
    answer = alice.get("/api/datasets")
    assert answer.status_code == 500
    assert_problem(answer)
    assert "secret" not in answer.text
    assert "ZeroDivision" not in answer.text
    # the server lives
    assert alice.get("/api/whoami").status_code == 200


@pytest.mark.parametrize(
    ("error", "status"),
    [(Unavailable("the disk sleeps", retry_after_s=7), 503), (NoSpace("full"), 507), (HoldfastError("x"), 500)],
)
def test_our_errors_keep_their_words(
    served: Served, alice: httpx.Client, monkeypatch, error: HoldfastError, status: int
):
    def broken(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(served.hold.catalog.datasets, "page", broken)
    answer = alice.get("/api/datasets")
    assert (answer.status_code, answer.json()["detail"]) == (status, str(error))
    if status == 503:
        assert answer.headers["retry-after"] == "7"
        assert answer.json()["retry_after_s"] == 7
    assert answer.json()["type"].startswith("urn:holdfast:error:")


def test_people_get_a_page_and_programs_json(alice: httpx.Client):
    page = alice.get("/nothing", headers={"Accept": "text/html"})
    assert page.status_code == 404
    assert page.headers["content-type"].startswith("text/html")
    assert "Traceback" not in page.text
    assert (
        alice.get("/api/nothing", headers={"Accept": "text/html"}).headers["content-type"] == "application/problem+json"
    )


def test_every_answer_has_the_headers_that_protect(served: Served, alice: httpx.Client, stranger: httpx.Client):
    for answer in (
        alice.get("/api/datasets"), alice.get("/nothing"), stranger.get("/api/datasets"), stranger.get("/healthz"),
        stranger.get("/sign-in"), alice.get("/api/docs"), stranger.options("/"), alice.get("/datasets"),
    ):  # fmt: skip
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["referrer-policy"]
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "frame-ancestors 'none'" in policy
        assert "server" not in answer.headers
        assert "access-control-allow-origin" not in answer.headers


def test_the_openapi_document(stranger: httpx.Client, alice: httpx.Client):
    document = alice.get("/api/openapi.json").json()
    assert document["openapi"].startswith("3.1")
    assert document["info"] == {**document["info"], "title": "Holdfast", "version": __version__}
    paths = document["paths"]
    for path, methods in {
        "/api/datasets": {"get", "post"}, "/api/datasets/{dataset}": {"get", "delete", "patch"},
        "/api/datasets/{dataset}/content": {"get", "put", "head"}, "/api/datasets/{dataset}/storage": {"get"},
        "/api/pools": {"get"}, "/api/pools/{object_store_id}": {"get", "patch"}, "/api/operations": {"get", "post"},
        "/api/operations/{operation_id}": {"get"}, "/api/jobs": {"get", "post"}, "/api/jobs/{job_id}": {"get"},
        "/api/uploads": {"post", "options", "get"}, "/api/events": {"get"}, "/api/version": {"get"},
        "/healthz": {"get"}, "/readyz": {"get"}, "/metrics": {"get"}, "/api/explain": {"get"},
    }.items():  # fmt: skip
        assert methods <= set(paths[path]), path
    assert not any(path.startswith("/sign-in") for path in paths)


def test_the_docs_need_nothing_from_elsewhere(stranger: httpx.Client):
    page = stranger.get("/api/docs")
    assert page.status_code == 200
    assert "GET /api/datasets" in page.text
    assert "http://" not in page.text
    assert "https://" not in page.text
    assert "<script" not in page.text


def test_the_version_and_the_numbers(served: Served, alice: httpx.Client, stranger: httpx.Client):
    assert stranger.get("/api/version").json() == {"name": "holdfast", "version": __version__}
    alice.post("/api/datasets?name=a", content=b"12345")
    seen = stranger.get("/metrics")
    assert seen.headers["content-type"].startswith("text/plain")
    lines = seen.text.splitlines()
    assert 'holdfast_requests_total{method="POST",route="/api/datasets",status="201"} 1.0' in lines
    assert 'holdfast_pool_datasets{pool="newdata"} 1.0' in lines
    assert 'holdfast_pool_used_bytes{pool="newdata"} 5.0' in lines
    assert any(line.startswith("holdfast_request_seconds_bucket") for line in lines)
    # what people ask for must not become a name of a number
    for at in range(20):
        stranger.get(f"/nothing/{at}")
        alice.get(f"/api/datasets/{at}")
    assert "nothing" not in stranger.get("/metrics").text


def test_relabelling(alice: httpx.Client):
    made = alice.post("/api/datasets?name=a", content=b"x").json()["id"]
    changed = alice.patch(f"/api/datasets/{made}", json={"name": "b", "labels": {"k": "v"}}).json()
    assert (changed["name"], changed["labels"]) == ("b", {"k": "v"})
    assert alice.patch(f"/api/datasets/{made}", json={"name": "a\nb"}).status_code == 422
    assert alice.patch(f"/api/datasets/{made}", json={"owner": "bob@example.org"}).status_code == 422
    assert alice.get(f"/api/datasets/{made}").json()["name"] == "b"


def test_the_catalog_away(served: Served, alice: httpx.Client, stranger: httpx.Client, monkeypatch):
    def away(*_: object) -> None:
        raise Unavailable("no database")

    monkeypatch.setattr(served.hold.catalog, "totals", away)
    assert stranger.get("/healthz").status_code == 200
    answer = stranger.get("/readyz")
    assert answer.status_code == 503
    assert_problem(answer)


def test_the_catalog_deleted_under_the_server(served: Served, alice: httpx.Client, stranger: httpx.Client):
    assert alice.post("/api/datasets?name=a", content=b"x").status_code == 201
    (served.folder / "state" / "catalog.sqlite").unlink()
    answer = stranger.get("/readyz")
    assert answer.status_code == 503
    assert "was taken away" in answer.json()["detail"]
    answer = alice.post("/api/datasets?name=b", content=b"y")
    assert answer.status_code == 503
    assert "was taken away" in answer.json()["detail"]
    assert stranger.get("/healthz").status_code == 200


def test_ready_although_pools_are_away(served: Served, alice: httpx.Client, stranger: httpx.Client):
    assert stranger.get("/readyz").json() == {"ready": True, "pools": {"newdata": "available", "olddata": "available"}}
    served.hold.set_pool_state("newdata", "offline")
    answer = stranger.get("/readyz")
    assert answer.status_code == 200
    assert answer.json()["pools"] == {"newdata": "unavailable", "olddata": "available"}


def test_a_pool_that_hangs_holds_nobody_up(served: Served, stranger: httpx.Client, monkeypatch):
    go_on = threading.Event()
    asked = []

    def hang() -> dict[str, str]:
        asked.append(1)
        go_on.wait(30)
        return {}

    monkeypatch.setattr(service, "POOLS_S", 0.1)
    monkeypatch.setattr(served.hold, "unavailable", hang)
    try:
        for _ in range(3):
            answer = stranger.get("/readyz")
            assert answer.status_code == 200
            assert answer.json() == {"ready": True, "pools": {"newdata": "unknown", "olddata": "unknown"}}
        assert len(asked) == 1, "one question at a time"
    finally:
        go_on.set()
