"""Every route, walked as a stranger and as somebody else: nobody sees, lists or guesses what is another's."""

from __future__ import annotations

import re
from collections.abc import Iterator

import httpx
import pytest
from fastapi.routing import APIRoute
from tests.api.served import ALICE, Served

# what strangers may see: that the server lives, how to use it, and how to sign in
OPEN = {
    ("GET", "/"), ("GET", "/healthz"), ("GET", "/readyz"), ("GET", "/metrics"), ("GET", "/api/version"),
    ("GET", "/api/docs"), ("GET", "/sign-in"), ("POST", "/sign-in"), ("POST", "/sign-out"),
    ("GET", "/sign-in/{secret}"), ("POST", "/sign-in/{secret}"), ("OPTIONS", "/api/uploads"),
    ("OPTIONS", "/api/uploads/{upload_id}"),
}  # fmt: skip
OPEN_PREFIXES = ("/static/", "/assets/", "/favicon", "/theme")


def routes(served: Served) -> Iterator[tuple[str, str]]:
    """Every method and path that the application answers."""
    found = 0
    pending = list(served.app.api.routes)
    while pending:
        route = pending.pop()
        inner = getattr(route, "routes", None) or getattr(getattr(route, "original_router", None), "routes", None)
        if isinstance(route, APIRoute) and route.methods:
            for method in sorted(route.methods):
                found += 1
                yield method, route.path
        elif inner:
            pending += inner
    assert found > 40, "the walk did not find the routes"


def is_open(method: str, path: str) -> bool:
    return (method, path) in OPEN or path.startswith(OPEN_PREFIXES)


@pytest.fixture
def alices(served: Served, alice: httpx.Client) -> dict[str, str]:
    """One of everything that alice owns, by the name that routes give it."""
    dataset = alice.post("/api/datasets?name=secret-name.txt", content=b"secret bytes").json()
    upload = alice.post(
        "/api/uploads",
        headers={"Tus-Resumable": "1.0.0", "Upload-Length": "10", "Upload-Metadata": "filename c2VjcmV0LW5hbWU="},
    )
    job = alice.post("/api/jobs", json={"command": ["echo", "secret-name"]}).json()
    return {
        "dataset": str(dataset["id"]), "dataset_id": str(dataset["id"]),
        "upload_id": upload.headers["location"].rpartition("/")[2],
        "job_id": str(job["id"]), "job": str(job["id"]), "uuid": dataset["uuid"],
    }  # fmt: skip


def filled(path: str, values: dict[str, str]) -> str:
    others = {"stream": "stdout", "wish": "pause", "user_id": "2", "token_id": "abc", "operation_id": "1"}
    others |= {"object_store_id": "newdata", "pool": "newdata", "secret": "x"}
    return re.sub(r"\{(\w+)(?::\w+)?\}", lambda found: {**others, **values}.get(found[1], "1"), path)


def without_ids(text: str, ids: dict[str, str]) -> str:
    return re.sub(rf"\b({'|'.join(sorted(set(ids.values())))})\b", "ID", text)


def test_a_stranger_gets_nothing(served: Served, stranger: httpx.Client, alices: dict[str, str]):
    walked = 0
    for method, path in routes(served):
        if is_open(method, path):
            continue
        walked += 1
        answer = stranger.request(method, filled(path, alices), headers={"Tus-Resumable": "1.0.0"})
        signs_in = answer.status_code == 303 and answer.headers["location"].startswith("/sign-in")
        assert answer.status_code in {401, 422} or signs_in, (method, path, answer.status_code, answer.text[:200])
        assert "secret" not in answer.text, (method, path)
        for value in answer.headers.values():
            assert "secret-name" not in value, (method, path)
    assert walked > 30


def test_somebody_else_cannot_tell_it_from_what_does_not_exist(
    served: Served, bob: httpx.Client, alices: dict[str, str]
):
    """Not a 403, and word for word what an id that nobody has gives."""
    walked = 0
    nobodys = {
        "dataset": "987654", "dataset_id": "987654", "upload_id": "f" * 32, "job_id": "987654", "job": "987654",
    }  # fmt: skip
    for method, path in routes(served):
        if not any("{" + name + "}" in path for name in nobodys) or is_open(method, path):
            continue
        walked += 1
        headers = {"Tus-Resumable": "1.0.0", "Content-Type": "application/offset+octet-stream", "Upload-Offset": "0"}
        if not path.startswith("/api/uploads"):
            headers = {}
        body = {}
        if path.endswith("/same"):
            body = {"json": {"blocks": []}}
            del headers["Content-Type"]
        body = {"json": {}} if method == "PATCH" and "uploads" not in path else body
        there = bob.request(method, filled(path, alices), headers=headers, **body)
        absent = bob.request(method, filled(path, nobodys), headers=headers, **body)
        assert there.status_code == absent.status_code == 404, (method, path, there.status_code, absent.status_code)
        known, unknown = without_ids(there.text, alices), without_ids(absent.text, nobodys)
        assert known == unknown, (method, path)
    assert walked > 10
    # and by uuid
    assert bob.get(f"/api/datasets/{alices['uuid']}").status_code == 404
    # nothing was changed on the way
    assert served.hold.find(int(alices["dataset"])).state == "ok"
    with served.client(ALICE) as alice:
        assert alice.get(f"/api/datasets/{alices['dataset']}/content").content == b"secret bytes"


def test_lists_hold_only_ones_own(served: Served, bob: httpx.Client, admin: httpx.Client, alices: dict[str, str]):
    for path in ("/api/datasets", "/api/jobs", "/api/uploads", "/api/events/log", "/api/tokens"):
        for query in ("", "?owner=alice@example.org"):
            if query and path not in {"/api/datasets", "/api/jobs"}:
                continue
            answer = bob.get(path + query)
            assert answer.status_code == 200, (path, answer.text)
            assert "secret" not in answer.text, path
            assert ALICE not in answer.text, path
    for path in ("/api/datasets", "/api/jobs", "/api/events/log"):
        assert "secret-name" in admin.get(path).text or path == "/api/events/log"
    assert [one["owner"] for one in admin.get("/api/datasets?owner=alice@example.org").json()] == [ALICE]


def test_bob_cannot_use_alices_data_in_his_job(bob: httpx.Client, alices: dict[str, str]):
    answer = bob.post("/api/jobs", json={"command": ["cat", "{input1}"], "inputs": [int(alices["dataset"])]})
    assert answer.status_code == 404
    assert "secret" not in answer.text


def test_nobodys_data_is_the_administrators(served: Served, alice: httpx.Client, admin: httpx.Client):
    dataset = served.hold.put(b"found on disk", name="adopted.txt")
    assert alice.get(f"/api/datasets/{dataset.id}").status_code == 404
    assert alice.get("/api/datasets").json() == []
    assert admin.get(f"/api/datasets/{dataset.id}").status_code == 200


def test_users_do_not_make_the_server_look_into_its_pools(served: Served, alice: httpx.Client, admin: httpx.Client):
    """An unrecorded blob is found for an administrator who asks for its id, not for anybody who counts up."""
    folder = served.folder / "newdata" / "000"
    folder.mkdir()
    (folder / "dataset_77.dat").write_bytes(b"was there before")
    assert alice.get("/api/datasets/77").status_code == 404
    assert served.rows("SELECT count(*) FROM dataset") == [(0,)]
    assert admin.get("/api/datasets/77").json()["size_bytes"] == 16


def test_what_is_for_administrators(served: Served, alice: httpx.Client, admin: httpx.Client):
    for method, path, body in (
        ("GET", "/api/users", None), ("POST", "/api/users", {"email": "x@example.org"}), ("GET", "/api/users/1", None),
        ("PATCH", "/api/users/2", {"is_admin": True}), ("POST", "/api/users/1/link", None),
        ("PATCH", "/api/pools/newdata", {"state": "offline"}), ("GET", "/api/operations", None),
        ("POST", "/api/operations", {"kind": "reap"}), ("GET", "/api/operations/1", None),
        ("POST", "/api/operations/1/cancel", None),
    ):  # fmt: skip
        answer = alice.request(method, path, json=body)
        assert answer.status_code == 403, (method, path, answer.status_code)
        assert answer.json()["title"] == "Not allowed"
    assert not served.accounts.find_email(ALICE).is_admin
    assert [one["email"] for one in admin.get("/api/users").json()][1] == ALICE
    made = admin.post("/api/users", json={"email": "carol@example.org"}).json()
    assert made["sign_in_path"].startswith("/sign-in/")
    assert served.accounts.redeem(made["sign_in_path"].rpartition("/")[2]).email == "carol@example.org"
