"""Two users, their library, and helpers to read the resulting histories."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from aperture_dagster.catalogue.history.marks import marked_items
from aperture_dagster.media_server.records import ServerEpisode, ServerTitle
from aperture_dagster.taste.histories import read_histories
from aperture_dagster_tests.databases import fill
from aperture_dagster_tests.shelf import Shelf, film, played

DAY = timedelta(days=1)


def furnish(shelf: Shelf) -> None:
    """Create two users, five films, a second copy of the first, and two copies of a series with two seasons."""
    fill(shelf.database, ("viewers",), lambda: _furnish(shelf))


def _furnish(shelf: Shelf) -> None:
    shelf.users("ann", "bob")
    shelf.films(*(film(number) for number in range(5)), film(100, tmdb_id=0 + 1, title="Film 1, again"))
    shelf.series(ServerTitle("show", "Show", tmdb_id=1), ServerTitle("show-copy", "Show", tmdb_id=1))
    shelf.episodes(
        *(
            ServerEpisode(f"{series}-{season}-{number}", series, "E", season=season, number=number)
            for series in ("show", "show-copy")
            for season, count in ((0, 1), (1, 3), (2, 2))
            for number in range(1, count + 1)
        )
    )


def mark(shelf: Shelf, user: str, *listed: str) -> int:
    """Write a full listing in which only these items are marked; return the number of changes."""
    with shelf.open() as connection:
        others = marked_items(connection, user).keys() - set(listed)
    nothing = {"played": False, "play_count": 0, "last_played_at": None}
    return shelf.history(user, *(played(one, **nothing) for one in others)).states.updated


def marked(shelf: Shelf, user: str = "ann") -> int:
    with shelf.open() as connection:
        return len(marked_items(connection, user))


def histories(shelf: Shelf, *users: str) -> Any:
    with shelf.open() as connection:
        frame = read_histories(connection)
    return frame[frame.user_id.isin(users)] if users else frame


def history_of(shelf: Shelf, server_item_id: str, user: str = "ann") -> dict[str, Any]:
    frame = histories(shelf, user)
    (row,) = frame[frame.work_id == shelf.item(server_item_id)["work_id"]].to_dict("records")
    return row
