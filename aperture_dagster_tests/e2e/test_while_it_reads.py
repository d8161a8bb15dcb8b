"""While the media server reads libraries for long, plays are followed, and lists are renewed and published."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from aperture_dagster.defs.publishing import libraries
from aperture_dagster.publishing.server import polling
from aperture_dagster_tests.e2e.publishing import Publishing
from aperture_dagster_tests.e2e.test_publishing import ANNAS, SHOWS, shelf
from aperture_dagster_tests.household import SetClock, metadata_of
from aperture_dagster_tests.sensors.runs import add_run, look

pytestmark = pytest.mark.e2e

BENS = "ben's AI Picks - Movies"
PLAYED = """
    SELECT count(*) FROM watch_state JOIN work_names USING (work_id) JOIN users u USING (user_id)
    WHERE u.name = 'ben' AND title = 'Film 3' AND played"""


@pytest.fixture
def place(household: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Publishing]:
    """Ben's list is published, and the server is reading Anna's, a film or episode in 100 s."""
    monkeypatch.setattr(libraries, "READING_SECONDS", 0.1)
    with shelf(household, tmp_path, wait_seconds=100_000.0) as made:
        made.publish_now()
        assert {ANNAS, SHOWS} <= set(made.views("anna")) and BENS in made.views("ben")
        made.state.advance(180)
        made.state.set_scan_speed(0.01)
        made.recommend("anna", "Film 6", "Film 7", "Film 2")
        being_read = {user: metadata.get("being_read", 0) for user, metadata in made.must_publish().items()}
        assert sorted(being_read.values()) == [0, 1]
        yield made


def follow(place: Publishing) -> dg.ExecuteInProcessResult:
    """What the sensor starts for Ben, without the models that make a list."""
    partition = place.home.value("SELECT partition_key FROM users WHERE name = 'ben'")
    return place.home.must("follow_plays", users=[partition], assets=["watch_history", "recommendation_libraries"])


def read_libraries(place: Publishing, monkeypatch: pytest.MonkeyPatch, meanwhile: Callable[[], None]) -> Any:
    """Run the job that waits, do something at its first look, and let time pass at each."""
    looks: list[None] = []

    def sleep(_: Any) -> None:
        looks.append(None)
        if len(looks) == 1:
            meanwhile()
        place.state.advance(50)

    with monkeypatch.context() as patched:
        patched.setattr(polling.Watch, "sleep", sleep)
        result = place.home.must("show_libraries")
    assert len(looks) > 3
    return result


def test_a_play_on_a_copy_is_followed_and_counts_for_the_original_while_the_server_reads(
    place: Publishing, monkeypatch: pytest.MonkeyPatch
):
    (original,) = place.state.catalogue.top_items("movie:3")
    ben, copy = place.state.user_named("ben"), place.items(BENS)["Film 3"].server_item_id
    old = place.titles(ANNAS)

    def watch() -> None:
        place.state.play_item("ben", copy, 1.0, datetime.now(UTC) - timedelta(minutes=3))
        follow(place)
        assert place.home.value(PLAYED) and ben.of(original).played
        assert len(place.titles(ANNAS)) <= len(old), "the server is still reading"

    result = read_libraries(place, monkeypatch, watch)
    assert place.titles(ANNAS) == ["Film 6", "Film 7", "Film 2"] and BENS in place.views("ben")
    shown = [one.data for one in metadata_of(result, "media_server_libraries")["libraries"].records]
    assert {ANNAS, BENS} <= {one["library"] for one in shown} and not any(one["being_read"] for one in shown)
    assert not place.home.rows("SELECT 1 FROM published_libraries WHERE unverified_since IS NOT NULL")


def test_a_run_is_started_for_what_is_left_once_an_hour_for_the_same_and_never_two(place: Publishing):
    clock, home = SetClock(datetime.now(UTC)), place.home
    sensor = home.definitions.resolve_sensor_def("libraries_sensor")

    def asks() -> Any:
        return look(sensor, home.instance, home.definitions, database=home.database, clock=clock)

    assert "has read everything" in asks().skip_message, "the run that placed it is about to verify it"
    clock.moment = datetime.now(UTC).replace(minute=1) + timedelta(hours=1)
    (asked,) = asks().run_requests
    clock.moment += timedelta(minutes=30)
    assert asks().run_requests[0].run_key == asked.run_key
    clock.moment += timedelta(minutes=30)
    assert asks().run_requests[0].run_key != asked.run_key
    run = add_run(home.instance, "show_libraries", "STARTED")
    assert "waits for the media server" in asks().skip_message
    home.instance.report_run_failed(run)
    assert asks().run_requests


@pytest.mark.nightly(
    reason="Runs that wait for one another.",
    instead="e2e/test_while_it_reads.py::test_a_run_is_started_for_what_is_left_once_an_hour_for_the_same_and_never_two",
)
def test_a_run_that_waits_takes_no_place_that_others_need(place: Publishing):
    graph = place.home.definitions.resolve_asset_graph()
    names = ["recommendation_libraries", "shows_you_watch_libraries", "top_picks_libraries", "media_server_libraries"]
    for name in names:
        assert graph.get(dg.AssetKey(name)).pools in (None, set()), name
    job = place.home.definitions.resolve_job_def("show_libraries")
    assert job.tags["aperture/one_at_a_time"] == "media_server_libraries"
