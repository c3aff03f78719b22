"""Each layer hands on what it was handed, and what comes back; and that costs next to nothing."""

from __future__ import annotations

import io
import timeit
from typing import Any

import pytest
from tests.unit.layers.layer_kit import QuickClock

from holdfast.blobs import BlobStat, ByteRange, BytesBody, GetOptions, PutOptions, Reader, Usage
from holdfast.keys import Key
from holdfast.layers.limited import LimitedDriver
from holdfast.layers.retried import RetriedDriver
from holdfast.layers.tripped import TrippedDriver
from holdfast.stores.base import Capabilities, Driver, Leftover
from holdfast.testing.store_kit import KEY

STAT = BlobStat(KEY, 5, "v1", 0)
FORWARD_US_MAX = 20


class Recording:
    """Answers each method with its own answer, and writes down what it was asked with."""

    name = "pool"
    capabilities = Capabilities(remote=True, signed_urls=True)

    def __init__(self) -> None:
        self.asked: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = []
        self.answers: dict[str, Any] = {
            "stat": STAT, "open": Reader(io.BytesIO(b"bytes"), STAT), "put": STAT, "copy": STAT,
            "delete": None, "list": [STAT], "sign_url": "https://x", "close": None, "usage": Usage(5, 3, "m"),
            "probe": ["one thing"], "sync": None, "leftovers": [Leftover("x", 1, 1.0, False)], "discard": True,
            "refused": [("x", "why")], "occupied": True, "prepare": None, "expect": None, "identity": "0a",
            "mark": None,
        }  # fmt: skip

    def __getattr__(self, name: str) -> Any:
        def method(*args: Any, **kwargs: Any) -> Any:
            self.asked.append((name, args, kwargs))
            answer = self.answers[name]
            return iter(answer) if isinstance(answer, list) and name != "probe" else answer

        return method


CALLS: dict[str, tuple[tuple[Any, ...], dict[str, Any]]] = {
    "stat": ((KEY,), {}),
    "open": ((KEY, GetOptions(fresh=True, range=ByteRange(1, 3), version="v1", digest="blake3:0")), {}),
    "put": ((KEY, BytesBody(b"12345"), PutOptions(digest="blake3:0", if_version="v0", durable=False)), {}),
    "copy": ((KEY, Key("b"), PutOptions(if_absent=True)), {}),
    "delete": ((KEY,), {}),
    "list": (("prefix/", "prefix/after"), {}),
    "sign_url": ((KEY, "PUT", 77), {"filename": "x.txt"}),
    "close": ((), {}),
    "usage": ((), {}),
    "probe": ((), {}),
    "sync": (([KEY, Key("b")],), {}),
    "leftovers": ((), {}),
    "discard": ((Leftover("x", 1, 1.0, False),), {}),
    "refused": ((), {}),
    "occupied": ((KEY,), {}),
    "prepare": ((), {}),
    "expect": (("0a",), {}),
    "identity": ((), {}),
    "mark": (("0b",), {"replacing": "0a"}),
}
LAYERS = {
    "retried": RetriedDriver,
    "tripped": TrippedDriver,
    "limited": LimitedDriver,
    "limited by all": lambda inner: LimitedDriver(
        inner, requests_per_s=1e9, bytes_per_s=1e12, concurrency=8, clock=QuickClock()
    ),
}


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("method", CALLS)
def test_it_hands_on_what_it_was_handed(name: str, method: str):
    recording = Recording()
    layer = LAYERS[name](recording)
    args, kwargs = CALLS[method]
    answer = getattr(layer, method)(*args, **kwargs)
    expected = recording.answers[method]
    if method in ("list", "leftovers", "refused"):
        assert list(answer) == expected
    elif method == "open":
        assert answer.stat is expected.stat
        assert answer.read(2) == b"by"
        answer.close()
        assert expected.closed
    else:
        assert answer == expected
    [(asked, got_args, got_kwargs)] = recording.asked
    assert asked == method
    if method == "put" and name == "limited by all":
        assert got_args[2].on_progress is not None
        got_args = (*got_args[:2], PutOptions(digest="blake3:0", if_version="v0", durable=False))
    assert (got_args, got_kwargs) == (args, kwargs)


def test_every_method_of_the_contract_is_tried_here():
    contract = {name for name in dir(Driver) if not name.startswith("_")}
    assert contract == {*CALLS, "name", "capabilities"}


@pytest.mark.parametrize("name", LAYERS)
def test_name_and_capabilities_are_the_inner_ones(name: str):
    recording = Recording()
    layer = LAYERS[name](recording)
    assert layer.name == "pool"
    assert layer.capabilities is recording.capabilities
    assert recording.asked == []


def test_a_call_through_all_three_costs_next_to_nothing():
    class Still(Recording):
        def stat(self, key: Key) -> BlobStat:
            return STAT

    inner = Still()
    layers = TrippedDriver(RetriedDriver(LimitedDriver(inner, requests_per_s=1e9, bytes_per_s=1e12, concurrency=64)))

    def cost_us(driver: Any) -> float:
        return min(timeit.repeat(lambda: driver.stat(KEY), number=2000, repeat=7)) / 2000 * 1e6

    assert cost_us(layers) - cost_us(inner) < FORWARD_US_MAX
