"""Favourites and ratings of whole series are read; its plays are those of its episodes."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from aperture_dagster.catalogue.servers import MediaServers
from aperture_dagster.media_server.records import Listing
from aperture_dagster.postgres.database import Database
from aperture_dagster.simulator.world import Play, World, WorldTitle, WorldUser

NOW = datetime.now(UTC).replace(microsecond=0)


def _world() -> World:
    titles = [
        WorldTitle(key=f"series:{name}", media_type="series", title=name, episodes_per_season=(2,))
        for name in ("liked", "disliked", "watched", "unknown")
    ]
    watched = [Play("Alma", "series:watched", NOW - timedelta(days=1), season=1, episode=number) for number in (1, 2)]
    return World("series", titles=titles, users=[WorldUser("Alma")], plays=watched)


@pytest.mark.parametrize("server", ["jellyfin", "emby"])
def test_ratings_and_favorites_of_series_are_read(serve: Callable[..., Any], server: str) -> None:
    with serve(_world(), server=server) as (simulator, settings):
        simulator.state.set_favorite("Alma", "series:liked", True)
        simulator.state.rate("Alma", "series:disliked", 2.0)
        with MediaServers(settings, Database(settings)).open() as client:
            names = {
                title.server_item_id: title.title
                for library in client.libraries()
                for page in client.titles(library, "series", Listing())
                for title in page
            }
            user = client.users().records[0].user_id
            since = NOW - timedelta(days=3)
            looks = (client.all_states(user, Listing()), client.changed_states(user, since, Listing()))
            full, changed = (
                {
                    names[state.server_item_id]: state
                    for page in pages
                    for state in page
                    if state.server_item_id in names and (state.favorite or state.rating is not None or state.played)
                }
                for pages in looks
            )
    assert set(full) == {"liked", "disliked"} and full["disliked"].rating == 2.0
    # Jellyfin has no filter for ratings, and counts every episode of a series to say them: once a day is enough.
    assert set(changed) == ({"liked", "disliked"} if server == "emby" else {"liked"})
    assert full["liked"].favorite and changed["liked"].favorite
    states = [*full.values(), *changed.values()]
    assert not any(state.played or state.play_count or state.is_episode for state in states)
