"""Server-sent events: what happens is told as it happens, to whom it concerns, and nothing is missed."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import httpx
from tests.api.served import ADMIN, ALICE, BOB, Served
from tests.api.test_content import until

from holdfast.server.api.events import LISTENERS_MAX, WAITING_MAX, feed_of


class Listener:
    """Reads events in a thread of its own."""

    def __init__(self, served: Served, email: str, **headers: str) -> None:
        self.frames: list[dict[str, str]] = []
        self._client = served.client(email)
        self._headers = headers
        self._started = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        assert self._started.wait(10)

    @property
    def events(self) -> list[dict[str, Any]]:
        return [json.loads(frame["data"]) for frame in self.frames if "data" in frame]

    def kinds(self) -> list[str]:
        return [event["kind"] for event in self.events]

    def close(self) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._thread.join(5)
        assert not self._thread.is_alive()
        self._client.close()

    def _run(self) -> None:
        try:
            with self._client.stream("GET", "/api/events", headers=self._headers) as answer:
                assert answer.headers["content-type"].startswith("text/event-stream")
                self._socket = answer.extensions["network_stream"].get_extra_info("socket")
                frame: dict[str, str] = {}
                for line in answer.iter_lines():
                    self._started.set()
                    if not line:
                        self.frames.append(frame)
                        frame = {}
                    elif not line.startswith(":"):
                        key, _, value = line.partition(": ")
                        frame[key] = value
        except (httpx.HTTPError, RuntimeError):
            return


def listening(served: Served, email: str, **headers: str) -> Listener:
    listener = Listener(served, email, **headers)
    # it hears what happens from the feed's first look on
    time.sleep(0.7)
    return listener


def test_what_happens_is_told_soon(served: Served, alice: httpx.Client):
    listener = listening(served, ALICE)
    begin = time.monotonic()
    made = alice.post("/api/datasets?name=a", content=b"x").json()
    assert until(lambda: "dataset.put" in listener.kinds(), 5)
    assert time.monotonic() - begin < 3
    [event] = [one for one in listener.events if one["kind"] == "dataset.put"]
    assert event["dataset_id"] == made["id"]
    [frame] = [one for one in listener.frames if one.get("event") == "dataset.put"]
    assert int(frame["id"]) == event["id"]
    listener.close()


def test_only_whom_it_concerns(served: Served, alice: httpx.Client, admin: httpx.Client):
    bob, boss, own = listening(served, BOB), listening(served, ADMIN), listening(served, ALICE)
    made = alice.post("/api/datasets?name=secret", content=b"x").json()
    alice.delete(f"/api/datasets/{made['id']}")
    admin.patch("/api/pools/newdata", json={"state": "read-only"})
    for listener in (bob, boss, own):
        assert until(lambda one=listener: "pool.state" in one.kinds(), 5)
        listener.close()
    assert bob.kinds() == ["pool.state"]
    assert "secret" not in json.dumps(bob.frames)
    for listener in (boss, own):
        assert "dataset.put" in listener.kinds()


def test_whoever_comes_back_misses_nothing(served: Served, alice: httpx.Client):
    first = listening(served, ALICE)
    ids = [alice.post(f"/api/datasets?name=n{at}", content=b"x").json()["id"] for at in range(3)]
    assert until(lambda: len(first.events) >= 3, 5)
    first.close()
    last = first.events[0]["id"]
    ids += [alice.post(f"/api/datasets?name=m{at}", content=b"x").json()["id"] for at in range(5)]
    again = listening(served, ALICE, **{"Last-Event-ID": str(last)})
    ids.append(alice.post("/api/datasets?name=z", content=b"x").json()["id"])
    assert until(lambda: len(again.events) >= 8, 5)
    again.close()
    told = [event["dataset_id"] for event in again.events if event["kind"] == "dataset.put"]
    assert told == ids[1:]
    numbers = [event["id"] for event in again.events]
    assert numbers == sorted(set(numbers))


def test_hostile_names_do_not_break_the_frames(served: Served, alice: httpx.Client):
    listener = listening(served, ALICE)
    alice.post("/api/datasets", params={"name": "a\u2028data: x\u2029id: 9"}, content=b"x")
    alice.post("/api/datasets", params={"name": "plain"}, content=b"x")
    assert until(lambda: listener.kinds().count("dataset.put") == 2, 5)
    listener.close()
    assert all(set(frame) <= {"id", "event", "data", "retry"} for frame in listener.frames)


def test_listeners_are_let_go(served: Served):
    listeners = [Listener(served, ALICE) for _ in range(5)]
    feed = feed_of(served.app.house)
    assert until(lambda: len(feed._listeners) == 5)
    for listener in listeners:
        listener.close()
    assert until(lambda: len(feed._listeners) == 0)
    assert LISTENERS_MAX >= 100
    assert WAITING_MAX >= 100


def test_the_log_pages(served: Served, alice: httpx.Client, admin: httpx.Client):
    for at in range(7):
        alice.post(f"/api/datasets?name=n{at}", content=b"x")
    seen: list[int] = []
    for page in pages(admin, "/api/events/log?limit=3"):
        seen += [one["id"] for one in page]
    assert seen == sorted(set(seen), reverse=True)
    assert len(seen) >= 7
    mine = [one for page in pages(alice, "/api/events/log?limit=3") for one in page]
    assert [one["kind"] for one in mine].count("dataset.put") == 7
    one = admin.get("/api/events/log?dataset=3").json()
    assert {event["dataset_id"] for event in one} == {3}


def pages(client: httpx.Client, path: str) -> Iterator[list[dict[str, Any]]]:
    while path:
        answer = client.get(path)
        assert answer.status_code == 200
        yield answer.json()
        path = answer.links.get("next", {}).get("url", "")
