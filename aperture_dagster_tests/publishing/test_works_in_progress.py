"""What a user is in the middle of, of the titles in their published recommendations."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from aperture_dagster.publishing.publishable import works_in_progress
from aperture_dagster_tests.catalogue.viewers import furnish
from aperture_dagster_tests.shelf import NOW, Shelf, played

UNTOUCHED = timedelta(days=14)


def publish(shelf: Shelf, list_key: str, *server_ids: str) -> None:
    shelf.do(
        "INSERT INTO published_libraries (list_key, media_type, name, folder, missing, changed, root, root_on_server) "
        "VALUES (:key, 'movie', :key, :key, 0, 0, '/', '/')",
        key=list_key,
    )
    for rank, server_id in enumerate(server_ids, start=1):
        shelf.do(
            "INSERT INTO published_entries "
            "(list_key, entry_id, work_id, folder, rank, state, date_added, files, because) "
            "VALUES (:key, :entry, :work, :entry, :rank, 'placed', now(), '{}', '{}')",
            key=list_key,
            entry=server_id,
            work=shelf.item(server_id)["work_id"],
            rank=rank,
        )


def in_progress(shelf: Shelf, *server_ids: str, key: str = "recommendations/ann/movie") -> bool:
    """Whether exactly these are in progress."""
    with shelf.open() as connection:
        works = works_in_progress(connection, key, since=NOW - UNTOUCHED)
    return works == [shelf.item(one)["work_id"] for one in server_ids]


def touched(server_id: str, days_ago: float, position: float = 0.0, **facts: Any) -> Any:
    return played(
        server_id, played=not position, position_share=position, last_played_at=NOW - timedelta(days=days_ago), **facts
    )


def test_a_film_is_in_progress_until_it_is_finished_or_was_untouched_for_long(shelf: Shelf):
    furnish(shelf)
    publish(shelf, "recommendations/ann/movie", "film-3", "film-1", "film-2", "film-0")
    shelf.history("bob", touched("film-0", 1, 0.5))
    shelf.history("ann", touched("film-1", 2, 0.5), touched("film-3", 13, 0.1), touched("film-2", 15, 0.5))
    assert in_progress(shelf, "film-3", "film-1"), "in the order of the list"
    shelf.history("ann", touched("film-4", 1, 0.5))
    assert in_progress(shelf, "film-3", "film-1"), "it is not published"
    # It has another copy in the library, which was finished since.
    shelf.history("ann", touched("film-100", 1))
    assert in_progress(shelf, "film-3")
    publish(shelf, "shows_you_watch/ann", "film-3")
    publish(shelf, "top_picks/movie", "film-3")
    for key in ("shows_you_watch/ann", "top_picks/movie"):
        assert in_progress(shelf, key=key)


def test_a_series_is_in_progress_while_there_is_an_episode_to_watch(shelf: Shelf):
    furnish(shelf)
    publish(shelf, "recommendations/ann/series", "show")
    key = "recommendations/ann/series"

    def watch(*numbers: str, days_ago: float = 1, **how: Any) -> None:
        shelf.history("ann", *(touched(f"show-{one}", days_ago, is_episode=True, **how) for one in numbers))

    assert in_progress(shelf, key=key)
    watch("1-1", days_ago=20)
    assert in_progress(shelf, key=key)
    watch("1-2")
    assert in_progress(shelf, "show", key=key)
    watch("1-3", "2-1")
    shelf.history("ann", touched("show-copy-2-2", 1, is_episode=True))
    assert in_progress(shelf, key=key), "all but the special were watched, one of them in another copy"
    watch("2-2", days_ago=0, position=0.5)
    assert in_progress(shelf, "show", key=key), "it is watched again"
