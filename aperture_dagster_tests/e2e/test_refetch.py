"""Facts that are not old are asked for again: because the operator wants it, or because the language has changed."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from aperture_dagster.build import all_jobs
from aperture_dagster.instance.runs import PARENT_TAG, RETRY_TAG
from aperture_dagster.simulator.responses import FaultRule
from aperture_dagster.worklist import engine
from aperture_dagster_tests.e2e.library import Library, imdb, title, titles
from aperture_dagster_tests.household import failures
from aperture_dagster_tests.killing import killed_at

pytestmark = pytest.mark.e2e

MANY = 60
TEXT = "What it is about."


def asked(here: Library, source: str) -> set[str]:
    """Return what a source was asked for since the last time, each of it once."""
    found = here.state.asked(source)
    assert set(found.values()) <= {1}, found
    here.state.reset_counters()
    return set(found)


def languages(here: Library) -> Counter[str]:
    """Count the films by the language of their texts, which must be what is stored."""
    rows = here.home.rows(
        "SELECT f.language, m.overview FROM fetches f JOIN tmdb_metadata m ON m.work_id = f.item "
        "WHERE f.source = 'tmdb' AND f.kind = 'movie'"
    )
    found = Counter(row["language"].partition("-")[0] for row in rows)
    translated = sum(row["overview"].startswith("(de)") for row in rows)
    # TMDb has no German text of some; these keep the English one.
    assert translated <= found["de"] and (translated > 0) == (found["de"] > 0)
    return found


def waiting(here: Library) -> set[str]:
    """Return the films that are still to be asked about again."""
    rows = here.home.rows(
        "SELECT tmdb_id FROM fetches f JOIN work_ids w ON w.work_id = f.item WHERE asked_again IS NOT NULL"
    )
    return {f"movie/{row['tmdb_id']}" for row in rows}


def why_skipped(here: Library, job: str = "enrich_metadata") -> str | None:
    """Return why the schedule of a job does not start it; None if it does."""
    (found,) = (one for one in all_jobs(here.home.settings) if one.name == job)
    assert found.skip_if is not None
    return found.skip_if(here.home.settings, here.clock)


def kill(here: Library, source: str, **how: Any) -> str:
    """Run a source, and kill the run after it stored answers for the first time; return its id."""
    # The answers under way are stored as well, unlike after a real kill.
    before = {run.run_id for run in here.home.instance.get_runs()}
    with killed_at([(engine._Run, "_store")], 2):
        assert not here.run(source, **how).success
    here.state.reset_counters()
    return next(run.run_id for run in here.home.instance.get_runs() if run.run_id not in before)


def test_named_titles_are_asked_about_again_and_no_others(library: Any):
    twins = [title(8, title="Twins", year=1988), title(9, title="Twins", year=2020)]
    known = [*titles(1, 4), *twins, title(7, title="Twin", imdb_id=None)]
    with library(known) as here:
        for source in ("tmdb", "omdb"):
            here.ask(source)
        here.state.reset_counters()
        for named, expected in (
            (["Film 1"], {"movie/1"}),
            ([" film 2 (2000)", imdb(3), "tmdb:movie:4"], {"movie/2", "movie/3", "movie/4"}),
            (["Twins"], {"movie/8", "movie/9"}),
            (["Twins (2020)"], {"movie/9"}),
        ):
            here.ask("tmdb", refetch=named)
            assert asked(here, "tmdb") == expected, named
        assert asked(here, "omdb") == set()
        # A source that does not know a title says so.
        result = here.run("omdb", refetch=["Twin", "Film 1"])
        assert result.success and asked(here, "omdb") == {imdb(1)}
        assert "about 1 item, but not about 1 title without an id that it knows." in here.log(result)
        here.ask("tmdb")
        assert asked(here, "tmdb") == set(), "once is enough"


def test_a_name_that_no_title_has_is_refused_and_nothing_is_asked(library: Any, monkeypatch: pytest.MonkeyPatch):
    with library(titles(1, 12)) as here:
        here.ask("tmdb")
        here.state.reset_counters()
        result = here.run("tmdb", refetch=["Film 1", "Flim 12"])
        assert failures(result)["tmdb_metadata"] == (
            "No title of the library is called 'Flim 12', so nothing is asked again. Did you mean Film 12 (2000) or "
            "Film 2 (2000) or Film 1 (2000)?"
        )
        monkeypatch.setenv("OTHERS_SECRET", "password-1")
        result = here.run("tmdb", refetch=[{"env": "OTHERS_SECRET"}])  # type: ignore[list-item]
        assert "no environment variables" in failures(result)["tmdb_metadata"]
        assert "password-1" not in here.log(result)
        here.ask("tmdb")
        assert asked(here, "tmdb") == set()


@pytest.mark.nightly(
    reason="All titles in place of some.",
    instead="e2e/test_refetch.py::test_named_titles_are_asked_about_again_and_no_others",
)
def test_all_titles_of_one_source_are_asked_about_again_once(library: Any):
    with library(titles(1, 4)) as here:
        for source in ("tmdb", "omdb"):
            here.ask(source)
        here.state.reset_counters()
        assert here.ask("tmdb", refetch=["all"])["fetched"] == 4
        assert asked(here, "tmdb") == {"movie/1", "movie/2", "movie/3", "movie/4"}
        assert here.home.must("enrich_metadata") and asked(here, "tmdb") == asked(here, "omdb") == set()
        assert here.ask("omdb", refetch=["ALL"])["fetched"] == 4


def test_a_quota_ends_a_refetch_which_goes_on_the_next_day(library: Any):
    with library(titles(1, 9), stand_ins={"omdb_daily_limit": 9}) as here:
        here.home.must("enrich_metadata")
        here.next_day()
        here.state.reset_counters()
        # The quota of this run alone.
        few = {"omdb": {"omdb_daily_limit": 4}}
        first = here.ask("omdb", refetch=["all"], resources=few)
        assert (first["fetched"], first["still_due"], first["quota_limit"]) == (4, 5, 4) and "resumes_at" in first
        before = asked(here, "omdb")
        here.next_day()
        # By the schedule, which knows that something is left; and a title that is new comes before that.
        assert why_skipped(here) is None
        assert here.ask("omdb", resources=few)["still_due"] == 1
        here.next_day()
        assert here.ask("omdb")["fetched"] == 1
        assert asked(here, "omdb") | before == {imdb(number) for number in range(1, 10)}
        assert why_skipped(here) is not None


@pytest.mark.nightly(
    reason="A run that is killed.",
    instead="e2e/test_refetch.py::test_a_quota_ends_a_refetch_which_goes_on_the_next_day",
)
def test_a_refetch_that_is_killed_goes_on_where_it_was(library: Any):
    with library(titles(1, MANY)) as here:
        for source in ("tmdb", "omdb"):
            here.ask(source)
        here.state.reset_counters()
        killed = kill(here, "tmdb", refetch=["all"])
        left = waiting(here)
        assert 0 < len(left) <= MANY - engine.STORED_AT_ONCE
        # Started again by Dagster, with the same configuration.
        retry = {RETRY_TAG: "1", PARENT_TAG: killed}
        result = here.run("tmdb", refetch=["all"], also_tagged=retry)
        assert result.success and asked(here, "tmdb") == left
        again = {RETRY_TAG: "2", PARENT_TAG: result.run_id}
        assert here.run("tmdb", refetch=["all"], also_tagged=again).success and asked(here, "tmdb") == set()
        # Started again by hand: the operator wants all of it once more.
        assert here.run("tmdb", refetch=["all"], also_tagged={PARENT_TAG: killed}).success
        assert len(asked(here, "tmdb")) == MANY
        # Killed, and left to the next run of the schedule.
        kill(here, "tmdb", refetch=["all"])
        left = waiting(here)
        assert left and why_skipped(here) is None
        here.ask("tmdb")
        assert asked(here, "tmdb") == left
        assert why_skipped(here) is not None


def test_a_changed_language_is_noticed_there_and_back(library: Any):
    with library(titles(1, MANY, overview=TEXT)) as here:
        for source in ("tmdb", "omdb"):
            here.ask(source)
        here.state.reset_counters()
        assert why_skipped(here) is not None
        here.use(tmdb_language="de-DE")
        assert why_skipped(here) is None
        kill(here, "tmdb")
        # What was not fetched yet keeps its old texts.
        stored = languages(here)["de"]
        assert engine.STORED_AT_ONCE <= stored < MANY and languages(here)["en"] == MANY - stored
        here.use(tmdb_language="en-US")
        metadata = here.ask("tmdb")
        assert (metadata["fetched"], metadata["still_due"]) == (stored, 0)
        assert len(asked(here, "tmdb")) == stored and languages(here) == {"en": MANY}
        assert why_skipped(here) is not None
        here.use(tmdb_language="de-DE")
        here.ask("tmdb")
        assert len(here.state.asked("tmdb")) == MANY
        here.state.reset_counters()
        assert languages(here) == {"de": MANY}
        here.home.must("enrich_metadata")
        assert asked(here, "tmdb") == set() and asked(here, "omdb") == set(), "OMDb has no languages"


def test_a_title_that_cannot_be_had_in_another_language_is_not_asked_for_at_once_again(library: Any):
    with library(titles(1, 3, overview=TEXT)) as here:
        here.ask("tmdb")
        here.use(tmdb_language="de-DE")
        here.state.reset_counters()
        here.state.add_fault(FaultRule("tmdb", status=422, times=1))
        assert here.ask("tmdb")["errors"] == 1
        assert languages(here) == {"de": 2, "en": 1}
        here.state.reset_counters()
        assert here.ask("tmdb")["asked"] == 0
        here.move(hours=2)
        assert here.ask("tmdb")["fetched"] == 1 and languages(here) == {"de": 3}
