"""Whole events out of any split."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from mitai.serve.stream import whole_events

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

EVENTS = [b"data: one\n\n", "data: 二\n\n".encode(), b": comment\r\n\r\n", b"data: [DONE]\n\n"]


async def collect(pieces: list[bytes]) -> list[bytes]:
    async def source() -> AsyncIterator[bytes]:
        for piece in pieces:
            yield piece

    return [piece async for piece in whole_events(source())]


@pytest.mark.parametrize("size", range(1, 40))
async def test_every_piece_ends_where_an_event_ends(size: int) -> None:
    data = b"".join(EVENTS)
    got = await collect([data[at : at + size] for at in range(0, len(data), size)])
    assert b"".join(got) == data
    assert all(piece.endswith((b"\n\n", b"\r\n\r\n")) for piece in got)


async def test_pieces_that_are_whole_events_are_not_delayed_or_joined() -> None:
    whole = [EVENTS[0], EVENTS[1], EVENTS[3]]
    assert await collect(whole) == whole


async def test_what_is_no_whole_event_comes_with_a_clean_end_only() -> None:
    async def cut() -> AsyncIterator[bytes]:
        yield b"data: one\n\ndata: tw"
        raise ConnectionError

    events = whole_events(cut())
    assert await anext(events) == b"data: one\n\n"
    with pytest.raises(ConnectionError):
        await anext(events)
    assert await collect([b"data: one\n\ndata: tw"]) == [b"data: one\n\n", b"data: tw"]
