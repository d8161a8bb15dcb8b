"""What members put aside for later, as one playlist for each of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from aperture_dagster.members.for_later import titles_for_later
from aperture_dagster.members.visible_titles import titles_in_sight
from aperture_dagster.postgres.queries import execute
from aperture_dagster.publishing.server.playlists import DesiredList

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from aperture_dagster.catalogue.people import User


def playlist_for_later(connection: Connection, user: User, name: str) -> DesiredList:
    """Return the playlist of what a user put aside: what is in the library and they may see now, the latest first.

    It is empty if nothing is left of that. A series is represented by its first episode, since a server would put all
    of them into a playlist.
    """
    works = [row["work_id"] for row in titles_for_later(connection, user.user_id)]
    visible = titles_in_sight(connection, user, works)
    titles = [visible[work] for work in works if work in visible]
    first = _first_episodes(connection, [title.item_id for title in titles if title.media_type == "series"])
    items = (title.server_item_id if title.media_type == "movie" else first.get(title.item_id, "") for title in titles)
    return DesiredList(f"for_later/{user.user_id}", "playlist", user.user_id, name, tuple(filter(None, items)))


def _first_episodes(connection: Connection, series: Sequence[int]) -> Mapping[int, str]:
    """Return the server's id of the first episode of each series item; specials do not count."""
    statement = """
        SELECT DISTINCT ON (series_item_id) series_item_id, server_item_id FROM present_episodes
        WHERE series_item_id = ANY(:series) AND season > 0 AND number IS NOT NULL
        ORDER BY series_item_id, season, number, item_id"""
    rows = execute(connection, statement, series=list(series))
    return {row.series_item_id: row.server_item_id for row in rows}
