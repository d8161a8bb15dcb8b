"""Originals and their published copies get the same watch state, and nothing is written where they have it."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from types import SimpleNamespace
from typing import Any

import pytest

from aperture_dagster.media_server.records import ItemState
from aperture_dagster.model import Clock
from aperture_dagster.publishing.sharing import WatchStateSharing
from aperture_dagster_tests.catalogue.viewers import DAY, furnish
from aperture_dagster_tests.publishing.test_works_in_progress import publish
from aperture_dagster_tests.shelf import NOW, Shelf

ORIGINAL, COPY = "film-1", "copy-of-1"
TICKS = 36_000_000_000


class Server:
    """A media server that keeps each state for itself, as Jellyfin 10.11 and later do."""

    product, version, dry_run = "jellyfin", (10, 11, 11), False

    def __init__(self) -> None:
        self.states = {one: ItemState(one) for one in (ORIGINAL, COPY)}
        self.writes: list[tuple[str, dict[str, Any]]] = []
        self.reader = SimpleNamespace(states_of=self.states_of, product="Jellyfin")

    def states_of(self, user_id: str, ids: Sequence[str]) -> Iterator[list[ItemState]]:
        yield [self.states[one] for one in ids if one in self.states]

    def set_user_data(self, user_id: str, item_id: str, data: dict[str, Any]) -> None:
        self.writes.append((item_id, data))
        ticks = data.get("PlaybackPositionTicks", 0)
        self.states[item_id] = self.states[item_id]._replace(
            played=data.get("Played", False), play_count=data.get("PlayCount", 0), position_ticks=ticks,
            position_share=ticks / (2 * TICKS), last_played_at=NOW, favorite=data.get("IsFavorite", False),
        )  # fmt: skip


@pytest.fixture
def server(shelf: Shelf) -> Server:
    """The film is published for Ann."""
    furnish(shelf)
    publish(shelf, "recommendations/ann/movie", ORIGINAL)
    shelf.do(
        "INSERT INTO item_versions (server_item_id, item_id, primary_item_id, is_published) "
        "VALUES (:copy, 1000000, :film, true)",
        copy=COPY, film=shelf.item(ORIGINAL)["item_id"],
    )  # fmt: skip
    shelf.do(
        "INSERT INTO published_copies (server_item_id, list_key) VALUES (:copy, 'recommendations/ann/movie')", copy=COPY
    )
    return Server()


def share(shelf: Shelf, server: Any) -> int:
    """Read both states, and share them; return how many were written."""
    seen = [one for one in server.states.values() if one.has_content]
    shelf.history("ann", *seen, now=NOW + DAY)
    clock = Clock(lambda: NOW + DAY)
    return WatchStateSharing(shelf.database, clock, server, logging.getLogger("test")).share("ann")


@pytest.mark.parametrize(("watched", "other"), [(COPY, ORIGINAL), (ORIGINAL, COPY)])
def test_a_position_goes_to_the_other_one_with_the_servers_ticks(
    shelf: Shelf, server: Server, watched: str, other: str
):
    server.states[watched] = ItemState(watched, position_share=0.5, position_ticks=TICKS, last_played_at=NOW)
    assert share(shelf, server) == 1
    ((item, data),) = server.writes
    assert (item, data["PlaybackPositionTicks"], data["LastPlayedDate"][:10]) == (other, TICKS, "2026-05-17")
    assert share(shelf, server) == 0 and len(server.writes) == 1, "they agree"


def test_a_play_goes_to_the_original_with_its_count(shelf: Shelf, server: Server):
    server.states[COPY] = ItemState(COPY, played=True, play_count=3, last_played_at=NOW)
    assert share(shelf, server) == 1
    assert server.writes[0][0] == ORIGINAL and server.writes[0][1]["PlayCount"] == 3


def test_nothing_is_written_where_nobody_watched_or_in_a_dry_run(shelf: Shelf, server: Server):
    assert share(shelf, server) == 0
    server.states[COPY] = ItemState(COPY, played=True, play_count=1, last_played_at=NOW)
    server.dry_run = True
    assert share(shelf, server) == 0 and server.writes == []
    server.dry_run, server.version = False, (10, 10, 7)
    assert share(shelf, server) == 0 and server.writes == [], "that version does it itself"
