"""Refreshing of titles: which, when, and in which order."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from aperture_dagster.simulator.faults import FaultRule
from aperture_dagster_tests.e2e.library import Library, imdb, names, title, titles

pytestmark = pytest.mark.e2e

YOUNG = {"year": 2026, "release_date": "2026-03-01"}
ONE_BY_ONE: dict[str, Any] = {"tmdb_concurrency": 1, "omdb_concurrency": 1, "mdblist_batch_size": 4}


def asked_since(library: Library, source: str, what: str) -> list[str]:
    """Run a source's step; return the requested titles in order: the end of each path, or the IMDb ids."""
    library.state.reset_counters()
    library.ask(source)
    targets = [target for target, _ in library.state.arrivals(source, what)]
    if source == "omdb":
        return [target.partition("i=")[2].partition("&")[0] for target in targets]
    return [target.partition("?")[0].rpartition("/")[2] for target in targets]


@pytest.mark.nightly(
    reason="A whole household and its runs, for what the part beneath shows alone.",
    instead="storage/test_work_list.py::test_new_items_come_first_newest_first_then_the_most_overdue",
)
def test_titles_are_refreshed_when_due_the_longest_overdue_first(library):
    """Four titles are added on the first day, four on the second; 1 and 5 are from this year."""
    first = [title(1, **YOUNG), *titles(2, 4)]
    second = [title(5, **YOUNG), *titles(6, 8)]
    unknown = title(9, imdb_id="tt7777777", tmdb_id=9)
    with library([*first, *second], shelved=[*first, unknown], **ONE_BY_ONE) as here:
        day_0 = here.clock.moment
        for source in ("tmdb", "omdb", "mdblist"):
            here.ask(source)
        here.move(days=1)
        here.shelve(*first, *second, unknown)
        for source in ("tmdb", "omdb", "mdblist"):
            here.ask(source)
        assert here.outcomes("omdb")["Film 9"] == "not_found"

        here.clock.moment = day_0 + timedelta(days=7, hours=1)
        assert asked_since(here, "tmdb", "/movie/") == ["1"]
        assert asked_since(here, "omdb", "i=") == []

        here.clock.moment = day_0 + timedelta(days=8, hours=1)
        assert asked_since(here, "tmdb", "/movie/") == ["5"]
        assert asked_since(here, "omdb", "i=") == []
        # The second batch fails, which has the newer half.
        here.state.add_fault(FaultRule("mdblist", kind="malformed_json", after=1, times=5))
        here.state.reset_counters()
        metadata = here.ask("mdblist")
        assert (metadata["fetched"], metadata["errors"]) == (4, 4)
        failed = [name for name, outcome in here.outcomes("mdblist").items() if outcome == "error"]
        assert failed == names(range(5, 9))
        assert "tmdb/movie/9" not in here.state.asked("mdblist"), "unknown titles are retried after a month"
        here.state.clear_faults()

        here.clock.moment = day_0 + timedelta(days=29, hours=23)
        assert asked_since(here, "omdb", "i=") == []
        here.clock.moment = day_0 + timedelta(days=31, hours=1)
        assert asked_since(here, "tmdb", "/movie/") == ["1", "5", "2", "3", "4", "9", "6", "7", "8"]
        assert asked_since(here, "omdb", "i=") == [
            *[imdb(number) for number in range(1, 5)], "tt7777777", *[imdb(number) for number in range(5, 9)],
        ]  # fmt: skip


@pytest.mark.nightly(
    reason="A whole household and its runs, for what the part beneath shows alone.",
    instead="worklist/test_due.py::test_an_error_is_tried_again_after_an_hour_doubling_to_a_day",
)
def test_failed_titles_are_retried_after_an_hour_with_backoff_up_to_a_day(library):
    with library(titles(1, 3)) as here:
        here.state.add_fault(FaultRule("omdb", f"i={imdb(2)}", kind="missing_field", field="imdbID"))
        here.ask("omdb")
        waited = []
        for _ in range(6):
            due = here.home.value("SELECT due_at FROM fetches WHERE source = 'omdb' AND outcome = 'error'")
            waited.append((due - here.clock.moment) / timedelta(hours=1))
            here.clock.moment = due
            assert here.ask("omdb")["errors"] == 1
        assert waited == [1, 2, 4, 8, 16, 24]
        here.move(hours=23, minutes=59)
        here.state.clear_faults()
        assert here.ask("omdb")["asked"] == 0
        here.move(minutes=1)
        assert here.ask("omdb")["fetched"] == 1
        assert here.state.asked("omdb") == {imdb(1): 1, imdb(2): 8, imdb(3): 1}
        assert here.home.value("SELECT max(attempts) FROM fetches WHERE source = 'omdb'") == 0


def test_a_changed_tmdb_id_is_found_by_the_other_ids_of_the_title(library):
    """The title is not left as unknown for thirty days."""
    show = title(3, media_type="series", imdb_id=None, tvdb_id=33)
    without = title(2, imdb_id=None)
    with library([title(1), without, show], stand_ins={"tmdb_moved": {1: 101, 2: 102, 3: 103}}) as here:
        metadata = here.ask("tmdb")
        assert (metadata["fetched"], metadata["not_found"]) == (2, 1)
        assert here.home.rows("SELECT tmdb_id FROM tmdb_metadata ORDER BY 1") == [{"tmdb_id": 101}, {"tmdb_id": 103}]
        # The old id, the lookup by another id, and the new id.
        assert here.state.requests("tmdb") == 3 + 1 + 3
        here.state.reset_counters()
        here.move(days=here.home.settings.tmdb_ttl_days + 1)
        assert here.ask("tmdb")["fetched"] == 2
        asked = dict(here.state.asked("tmdb"))
        assert asked == {"movie/101": 1, "tv/103": 1, "movie/2": 1}, "the new id is remembered"


def test_an_id_that_no_longer_exists_is_looked_up_once(library):
    with library([title(1)]) as here:
        here.state.add_title(title(1, tmdb_id=None))
        metadata = here.ask("tmdb")
        assert (metadata["fetched"], metadata["not_found"], metadata["requests"]) == (0, 1, 2)
        assert here.why("tmdb") == {"Film 1": "unknown to TMDb as 1"}
