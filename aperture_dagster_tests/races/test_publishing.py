"""Two processes that publish at once on one media server."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from aperture_dagster.postgres.database import Database
from aperture_dagster.publishing import manifest as published
from aperture_dagster.publishing.manifest import AlreadyPublishing, Manifest
from aperture_dagster.publishing.server.outcomes import PublishingOutcome
from aperture_dagster_tests.interleaving import race, stop_at
from aperture_dagster_tests.publishing.place import Place, a_place
from aperture_dagster_tests.publishing.server.test_playlists import Lists


@pytest.fixture
def place(tmp_path: Path, database: Database) -> Iterator[Place]:
    with a_place(tmp_path) as made:
        stored: Any = Manifest(database.transaction, database.connection)
        made.manifest = stored
        with database.transaction() as connection:
            numbers = [{"work": 100 + number} for number in made.numbers.values()]
            connection.execute(text("INSERT INTO works (work_id, media_type) VALUES (:work, 'movie')"), numbers)
        yield made


def changes(publish: Callable[[], list[PublishingOutcome]]) -> Callable[[], list[tuple[int, bool]]]:
    def run() -> list[tuple[int, bool]]:
        outcomes = publish()
        assert [one.error for one in outcomes] == [None] * len(outcomes)
        return [(one.changes, one.created) for one in outcomes]

    return run


def test_a_library_that_two_processes_find_missing_is_created_once(place: Place, database_url: str):
    wanted = place.wanted("ada", "Alone", "Merged")
    publish = changes(lambda: place.publish(wanted, errors=True))
    with stop_at(place.writer, "create_library") as stop:
        assert race(database_url, stop, publish, publish) == ([(2, True)], [(0, False)])
    assert place.shown("ada's picks") == ["Alone", "Merged"] and place.views("ada") == ["ada's picks"]
    assert place.writes()["library_created"] == 1


@pytest.mark.parametrize("kind", ["collection", "playlist"])
def test_a_list_that_two_processes_find_missing_is_created_once(place: Place, database_url: str, kind: Any):
    lists = Lists(place, kind)
    publish = changes(lambda: place.lists(lists.wanted("Merged", "Alone")))
    with stop_at(place.writer, f"create_{kind}") as stop:
        assert race(database_url, stop, publish, publish) == ([(2, True)], [(0, False)])
    assert lists.there() == {"Picks": ["Merged", "Alone"]}


def test_a_process_that_waited_too_long_for_another_one_says_so(
    place: Place, database: Database, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(published, "PATIENCE", "10ms")
    with Manifest(database.transaction, database.connection).exclusively():
        with pytest.raises(AlreadyPublishing, match="try again when it is done"):
            place.publish(place.wanted("ada", "Alone"))
        assert place.writes() == {} and place.files() == {}
    place.publish(place.wanted("ada", "Alone"))
    assert place.views("ada") == ["ada's picks"]
