"""Bars of caches, and the words beside them."""

from __future__ import annotations

import pytest

from holdfast.server.pages.caches import GAP_PERCENT, NARROWEST_PERCENT, Piece, health_detail, pieces_of
from holdfast.stores.caching import Health

BLOCK = 2**20


def test_ranges_are_where_they_are():
    assert pieces_of([(0, 10), (50, 75)], 100) == (Piece(0, 10), Piece(50, 25))
    assert pieces_of([(0, 100)], 100) == (Piece(0, 100),)


def test_nothing_is_no_piece():
    assert pieces_of([], 100) == ()
    assert pieces_of([], 0) == ()


def test_a_block_of_a_tebibyte_can_be_seen_and_stays_within_the_bar():
    size = 2**40
    for start in (0, size // 2, size - BLOCK):
        [piece] = pieces_of([(start, start + BLOCK)], size)
        assert piece.width == NARROWEST_PERCENT
        assert piece.start + piece.width <= 100.01


def test_a_bar_has_a_limited_number_of_pieces():
    """Every other block of a tebibyte: half a million ranges."""
    size = 2**40
    every_other = [(at, at + BLOCK) for at in range(0, size, 2 * BLOCK)]
    assert len(pieces_of(every_other, size)) <= 100 / GAP_PERCENT
    far_apart = [(at, at + BLOCK) for at in range(0, size, size // 1000)]
    assert len(pieces_of(far_apart, size)) <= 100 / GAP_PERCENT


@pytest.mark.parametrize(
    ("health", "words"),
    [
        (Health("ok"), ""),
        (Health("failing", 1, "no route"), "1\u00a0failure, the last: no route"),
        (Health("failing", 3, "no route"), "3\u00a0failures in a row, the last: no route"),
        (
            Health("paused", 5, "no route", 0.2),
            "asked again in 1\u00a0s; 5\u00a0failures in a row, the last: no route",
        ),
    ],
)
def test_health_in_words(health: Health, words: str):
    assert health_detail(health) == words
