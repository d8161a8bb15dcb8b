"""Publishing from the database: what users find in their lists, and what they watched of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from aperture_dagster.catalogue.people import partition_key
from aperture_dagster.catalogue.server_users import ids_on_server, user_rows
from aperture_dagster.catalogue.stored_users import write_users
from aperture_dagster.model import Clock
from aperture_dagster.publishing.server import polling
from aperture_dagster.publishing.server.publication import Publication
from aperture_dagster.settings import Settings
from aperture_dagster.simulator.world import WorldTitle
from aperture_dagster.taste.lists import replace_recommendations
from aperture_dagster_tests.media_server.writers import ROOT
from aperture_dagster_tests.publishing.place import LOG, Place, a_place
from aperture_dagster_tests.shelf import NOW, Shelf, list_rows

ADA = ["ada's AI Picks - Movies", "ada's AI Picks - TV Series"]


@pytest.fixture
def place(tmp_path: Path, shelf: Shelf, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    """A home whose database has what its server shows, and a list of two films and a series for Ada."""
    monkeypatch.setattr(polling, "POLL_SECONDS", 0.002)
    with a_place(tmp_path, "12.0.0") as place:
        page = place.writer.reader.users()
        users = user_rows(page, settings, (), known=())
        with shelf.open() as connection:
            write_users(connection, users, still_there=ids_on_server(page), key_for=partition_key)
        shelf.sync(place.writer.reader)

        def listed(*titles: str) -> list[dict[str, Any]]:
            return [shelf.item(place.items[one].server_item_id) for one in titles]

        ada = place.user("ada")
        rows = [*list_rows(ada, listed("Merged", "Alone")), *list_rows(ada, listed("Show"), media_type="series")]
        with shelf.open() as connection:
            replace_recommendations(connection, ada, rows, today=NOW.date())
        yield place


@pytest.fixture
def publish(place: Place, shelf: Shelf, settings: Settings) -> Callable[[str], None]:
    """Publish all lists in a form."""

    def publish(form: str) -> None:
        given = {
            "publish": True,
            "publish_root": place.root,
            "path_map": {str(place.root): ROOT},
            "publish_lists": (f"recommendation_{form}",),
        }
        how = settings.model_copy(update=given)
        outcomes = Publication(how, shelf.database, place.writer, Clock(), LOG).publish_all().outcomes
        assert [one.error for one in outcomes] == [None, None]

    return publish


def test_a_playlist_has_films_and_the_first_episode_of_a_series_and_keeps_them_when_another_copy_comes(
    place: Place, shelf: Shelf, publish: Callable[[str], None]
):
    def playlists() -> dict[str, list[str]]:
        ada, writer = place.user("ada"), place.writer
        found = {one.name: writer.playlist_entries(one.list_id, ada) for one in writer.playlists(ada)}
        return {name: [item for _, item in entries] for name, entries in found.items()}

    films = [place.items[one].server_item_id for one in ("Merged", "Alone")]
    (first,) = (one for one in place.episodes[place.items["Show"].server_item_id] if (one.season, one.number) == (1, 1))
    publish("playlists")
    assert playlists() == dict(zip(ADA, (films, [first.server_item_id]), strict=True))
    place.state.add_title(WorldTitle("movie:7", "movie", "Alone, again", 2001, tmdb_id=11))
    shelf.sync(place.writer.reader)
    assert shelf.value("SELECT count(*) FROM present_titles WHERE title LIKE 'Alone%'") == 2
    publish("playlists")
    assert playlists()[ADA[0]] == films


def test_what_is_in_progress_on_a_published_copy_is_on_the_original_when_the_copy_leaves(
    place: Place, shelf: Shelf, publish: Callable[[str], None]
):
    ada, original = place.user("ada"), place.items["Merged"].server_item_id
    publish("libraries")
    copy = place.ids(ADA[0])["Merged"]
    place.state.play_item("ada", copy, 0.5)
    shelf.read_history(place.writer.reader, ada, Clock().now())
    publish("libraries")
    ((state,),) = place.writer.reader.states_of(ada, [original, copy])
    assert (state.server_item_id, state.position_share) == (original, 0.5)
    assert list(place.ids(ADA[0])) == ["Alone"], "she continues on the original"


@pytest.mark.parametrize("form", ["libraries", "playlists"])
def test_what_was_hidden_leaves_also_if_nothing_is_left(place: Place, shelf: Shelf, publish: Any, form: str):
    publish(form)
    shelf.do(
        "INSERT INTO dismissals (user_id, work_id, media_type, title, dismissed_at) "
        "SELECT user_id, work_id, media_type, 'It', now() FROM recommendations WHERE media_type = 'movie'"
    )
    publish(form)
    assert place.ids(ADA[0]) == {} if form == "libraries" else len(place.writer.playlists(place.user("ada"))) == 1
