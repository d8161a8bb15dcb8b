"""From the answers of the sources to the merged view, the embedded texts and the checks."""

from __future__ import annotations

from typing import Any

import dagster as dg
import pytest

from aperture_dagster.defs.enrichment.checks import has_every_title
from aperture_dagster.ranking.text import title_text
from aperture_dagster.simulator.faults import FaultRule
from aperture_dagster.storage.vectors import text_rows
from aperture_dagster_tests.e2e.library import Library, imdb, title, titles
from aperture_dagster_tests.household import Household, failed_checks, markdown_rows, metadata_of, run_check

pytestmark = pytest.mark.e2e


def test_a_source_without_a_key_is_reported_as_skipped_and_the_graph_continues(library):
    with library(titles(1, 5), omdb_api_key=None, mdblist_api_key=None) as here:
        result = here.home.must("enrich_metadata")
        metadata = metadata_of(result, "omdb_ratings")
        assert (metadata["skipped"], metadata["requests"]) == ("skipped: OMDB_API_KEY is not set", 0)
        assert "skipped: OMDB_API_KEY is not set" in here.log(result)
        assert failed_checks(result) == []
        result = here.home.must("enrich_mdblist")
        assert metadata_of(result, "mdblist_scores")["skipped"] == "skipped: MDBLIST_API_KEY is not set"
        assert "skipped: MDBLIST_API_KEY is not set" in here.log(result)
        merged = metadata_of(result, "enriched_metadata")
        filled = {row["titles with"]: row["share"] for row in markdown_rows(merged["coverage"])}
        assert (filled["votes"], filled["critics"], filled["awards"]) == ("100%", "0%", "0%")
        assert metadata_of(here.home.must("generate_embeddings"), "embeddings")["embedded"] == 5
        assert here.state.requests("omdb") == here.state.requests("mdblist") == 0


# Keywords


def texts(library: Library) -> dict[str, str]:
    """Return the embedded text of each title."""
    with library.home.database.transaction() as connection:
        return {row["title"]: title_text(row) for batch in text_rows(connection) for row in batch}


def test_keywords_of_two_sources_are_embedded_and_only_changed_texts_again(library):
    heist = {"keywords": ("heist", "vault", "getaway car", "last job", "safecracker", "double cross")}
    with library([*titles(1, 4), title(5, **heist)]) as here:
        for job in ("enrich_metadata", "enrich_mdblist", "generate_embeddings"):
            here.home.must(job)
        # MDBList has new keywords for the film; TMDb is not due yet.
        moon = {"keywords": ("moon", "rover", "crater", "low gravity", "dust storm", "far side")}
        here.state.add_title(title(5, **moon))
        here.move(days=8)
        before = texts(here)["Film 5"]
        here.home.must("enrich_mdblist")
        after = texts(here)["Film 5"]
        said_by = "SELECT s.keywords FROM {} s JOIN works w USING (work_id) WHERE w.imdb_id = :id"
        of_tmdb = here.home.value(said_by.format("tmdb_metadata"), id=imdb(5))
        of_mdblist = here.home.value(said_by.format("mdblist_scores"), id=imdb(5))
        assert of_tmdb == list(heist["keywords"])
        assert len(of_mdblist) >= 3 and not {name.lower() for name in of_mdblist} & set(of_tmdb)
        assert all(name in after for name in [*of_tmdb, *of_mdblist])
        assert after != before
        metadata = metadata_of(here.home.must("generate_embeddings"), "embeddings")
        assert (metadata["embedded"], metadata["missing"]) == (1, 0)


# Checks


def plain(check: dg.AssetCheckEvaluation) -> dict[str, Any]:
    return {name: getattr(value, "value", value) for name, value in check.metadata.items()}


def test_the_metadata_of_a_source_shows_its_coverage(library):
    nameless = title(10, imdb_id=None, tmdb_id=None)
    with library(titles(1, 9), shelved=[*titles(1, 8), nameless, title(11, imdb_id="tt7777777")]) as here:
        here.state.add_fault(FaultRule("omdb", f"i={imdb(3)}", kind="empty_object"))
        here.state.add_fault(FaultRule("omdb", f"i={imdb(4)}", kind="empty_object"))
        result = here.home.must("enrich_metadata")
        metadata = metadata_of(result, "omdb_ratings")
        assert (metadata["dagster/row_count"], metadata["coverage"]) == (6, round(6 / 9, 4))
        picture = metadata["coverage_by_kind"]
        assert "`movie      ██████████████████▒▒▒▓▓▓▓▓▓···`" in picture
        assert "6 ok, 1 not found, 2 error, 1 no id" in picture
        standing = {row["outcome"]: row["items"] for row in markdown_rows(metadata["outcomes"])}
        assert standing == {"ok": "6", "not_found": "1", "error": "2", "no_id": "1"}
        covers = run_check(here.home, "omdb_ratings", "covers_the_library")
        assert (covers.passed, covers.severity) == (False, dg.AssetCheckSeverity.WARN)
        assert covers.description == (
            "2 of 9 titles could not be fetched; they are tried again. 1 title has no id that OMDb knows."
        )
        assert plain(covers)["chart"] == picture and plain(covers)["no_id"] == 1
        assert run_check(here.home, "tmdb_metadata", "covers_the_library").passed
        here.state.clear_faults()
        here.move(minutes=61)
        here.ask("omdb")
        assert run_check(here.home, "omdb_ratings", "covers_the_library").passed


@pytest.mark.nightly(
    reason="Whole runs of a library, for what one check of made-up rows shows.",
    instead="defs/test_checks_of_sources.py::test_a_check_fails_for_its_reason_and_passes_otherwise",
)
def test_checks_warn_about_overdue_answers_and_fail_on_impossible_values(library):
    with library(titles(1, 10), omdb_daily_limit=10) as here:
        here.ask("omdb")
        found = here.home.daily_checks()
        assert found["omdb_ratings.is_fresh"].passed and found["omdb_ratings.has_values_in_range"].passed
        # Other users of the key spend the quota, so due titles have to wait.
        here.move(days=34)
        here.state.use_quota("omdb", 1000)
        here.ask("omdb")
        stale = here.home.daily_checks()["omdb_ratings.is_fresh"]
        assert (stale.passed, stale.severity) == (False, dg.AssetCheckSeverity.WARN)
        assert stale.description == "10 of 10 answers are overdue by more than 3 days."
        assert plain(stale)["share_stale"] == 1
        here.next_day()
        here.home.rows("UPDATE omdb_ratings SET imdb_rating = 85 WHERE imdb_id = :id RETURNING 1", id=imdb(1))
        here.home.rows("UPDATE fetches SET due_at = due_at + interval '1 year' WHERE item > 0 RETURNING 1")
        here.ask("omdb")
        found = here.home.daily_checks()
        assert found["omdb_ratings.is_fresh"].passed
        wrong = found["omdb_ratings.has_values_in_range"]
        assert (wrong.passed, wrong.severity) == (False, dg.AssetCheckSeverity.ERROR)
        assert wrong.description == "1 values are out of range."


@pytest.mark.nightly(
    reason="Whole runs of a library, for what one check of made-up rows shows.",
    instead="defs/test_checks_of_sources.py::test_a_check_fails_for_its_reason_and_passes_otherwise",
)
def test_a_check_warns_about_a_source_that_has_failed_for_a_day_until_it_answers_or_is_disabled(library):
    name = "enriched_metadata.has_sources_that_answer"
    with library(titles(1, 30), http_attempts=1) as here:
        here.state.add_fault(FaultRule("omdb", status=503))

        def look(home: Household | None = None) -> dg.AssetCheckEvaluation:
            return (home or here.home).daily_checks()[name]

        here.fail("omdb")
        here.move(hours=23)
        here.fail("omdb")
        assert look().passed, "it has failed for less than a day"
        assert plain(look())["failing"] == 1
        here.move(hours=2)
        warned = look()
        assert (warned.passed, warned.severity) == (False, dg.AssetCheckSeverity.WARN)
        assert "OMDb has failed since 2026-05-17 12:00" in (warned.description or "")
        assert "503" in (warned.description or "") and "demo-omdb-key" not in str(warned)
        without = here.home.settings.model_copy(update={"omdb_api_key": None})
        assert look(Household(without, here.home.instance, clock=here.clock)).passed, "the source is disabled"
        here.state.clear_faults()
        here.ask("omdb")
        assert look().passed


@pytest.mark.nightly(
    reason="Whole runs of a library, for what one check of made-up rows shows.",
    instead="defs/test_checks_of_sources.py::test_a_check_fails_for_its_reason_and_passes_otherwise",
)
def test_a_check_warns_about_titles_that_no_source_can_know(library):
    """For example, anime with only AniDB ids."""
    anime = [title(number, title=f"Anime {number}", imdb_id=None, tmdb_id=None) for number in (21, 22)]
    by_tvdb = title(23, media_type="series", imdb_id=None, tmdb_id=None, tvdb_id=777)
    # TVDb ids are used for series only.
    film_by_tvdb = title(24, title="Cour", imdb_id=None, tmdb_id=None, tvdb_id=778)
    with library(titles(1, 4), shelved=[*titles(1, 4), *anime, by_tvdb, film_by_tvdb]) as here:
        here.state.add_title(title(23, media_type="series", tvdb_id=777))
        result = here.home.must("enrich_metadata")
        metadata = metadata_of(result, "tmdb_metadata")
        assert (metadata["fetched"], metadata["not_found"], metadata["no_id"], metadata["coverage"]) == (5, 0, 3, 1.0)
        assert [row["title"] for row in markdown_rows(metadata["without_id"])] == ["Anime 21", "Anime 22", "Cour"]
        said = here.log(result)
        assert "Titles without an id that any source knows: 3 (Anime 21, Anime 22, Cour)." in said
        assert "let the media server identify them" in said.lower()
        covers = here.home.daily_checks()["tmdb_metadata.covers_the_library"]
        assert (covers.passed, covers.severity) == (False, dg.AssetCheckSeverity.WARN)
        assert covers.description == "3 titles have no id that TMDb knows."
        # No source got a request for them.
        assert here.state.requests("tmdb", "/find") == 1
        here.shelve(*titles(1, 4), *(title(number, imdb_id=f"tt99{number}") for number in (21, 22)), by_tvdb)
        again = metadata_of(here.home.must("enrich_metadata"), "tmdb_metadata")
        assert (again["no_id"], again["asked"]) == (0, 2)


def test_a_title_that_lost_its_ids_does_not_count_as_unknown_to_the_source(library):
    with library(titles(1, 2)) as here:
        here.ask("tmdb")
        here.home.rows("UPDATE fetches SET outcome = 'not_found' WHERE item > 0 RETURNING 1")
        here.home.rows("UPDATE works SET tmdb_id = NULL, imdb_id = NULL RETURNING 1")
        here.home.rows("DELETE FROM tmdb_metadata RETURNING 1")
        metadata = here.ask("tmdb")
        assert (metadata["asked"], metadata["no_id"]) == (0, 2)


@pytest.mark.nightly(
    reason="A whole household and its runs, for what the part beneath shows alone.",
    instead="defs/test_checks_of_sources.py::test_a_check_fails_for_its_reason_and_passes_otherwise",
)
def test_a_check_warns_about_mostly_unreadable_answers_with_count_and_first_reason(library):
    """Such a run must not look like any other."""
    with library(titles(1, 40), tmdb_concurrency=1) as here:
        here.state.add_fault(FaultRule("tmdb", "/movie/", kind="missing_field", field="title", after=6))
        result = here.run("tmdb")
        assert result.success
        warning = next(line for line in here.log(result).splitlines() if "could not be fetched" in line)
        assert warning.startswith("34 of 40 titles could not be fetched from TMDb and are tried again later.")
        assert "The first: Film" in warning and "has no title" in warning
        covers = here.home.daily_checks()["tmdb_metadata.covers_the_library"]
        assert (covers.passed, covers.severity) == (False, dg.AssetCheckSeverity.WARN)


@pytest.mark.nightly(
    reason="Whole runs of a library, for what one check of made-up rows shows.",
    instead="defs/test_checks_of_sources.py::test_a_check_fails_for_its_reason_and_passes_otherwise",
)
def test_a_title_that_is_not_merged_fails_the_blocking_check(library):
    with library(titles(1, 3)) as here:
        assert has_every_title(database=here.home.database).passed is False
        here.home.must("enrich_mdblist")
        assert has_every_title(database=here.home.database).passed
        here.home.rows("DELETE FROM enriched_metadata WHERE title = 'Film 2' RETURNING 1")
        failed = has_every_title(database=here.home.database)
        assert (failed.passed, failed.description) == (False, "1 titles are not in the merged view")
        assert next(iter(has_every_title.check_specs)).blocking


# Quiet runs


def version_of(result: dg.ExecuteInProcessResult, asset: str) -> str:
    """Return the data version that a run recorded."""
    (event,) = [one for one in result.get_asset_materialization_events() if one.asset_key == dg.AssetKey(asset)]
    return (event.materialization.tags or {})["dagster/data_version"]


@pytest.mark.nightly(
    reason="Another case of the same outcome, with a household of its own.",
    instead="e2e/test_enrichment_view.py::test_a_skipped_source_is_materialized_with_the_version_of_its_rows",
)
def test_a_run_that_asks_nothing_records_numbers_and_the_same_versions(library):
    assets = ("tmdb_metadata", "omdb_ratings", "enriched_metadata")
    tables = {"outcomes", "coverage_by_kind", "merged_last", "where_values_came_from"}
    with library(titles(1, 3)) as here:
        first, second = here.home.must("enrich_metadata"), here.home.must("enrich_metadata")
        shown = {name for asset in assets for name in metadata_of(first, asset)}
        assert tables <= shown
        assert not tables & {name for asset in assets for name in metadata_of(second, asset)}
        assert metadata_of(second, "tmdb_metadata")["coverage"] == 1
        for asset in assets:
            assert version_of(first, asset) == version_of(second, asset), asset
        here.state.add_title(title(2, vote_average=9.1))
        here.move(days=31)
        third = here.home.must("enrich_metadata")
        for asset in ("tmdb_metadata", "enriched_metadata"):
            assert version_of(third, asset) != version_of(first, asset), asset


def test_a_skipped_source_is_materialized_with_the_version_of_its_rows(library):
    with library(titles(1, 3)) as here:
        answered = here.home.must("enrich_mdblist")
        without = here.home.settings.model_copy(update={"mdblist_api_key": None})
        home = Household(without, here.home.instance, clock=here.clock)
        skipped = home.must("enrich_mdblist")
        assert "skipped" in metadata_of(skipped, "mdblist_scores")
        assert version_of(skipped, "mdblist_scores") == version_of(answered, "mdblist_scores")
        home.rows("DELETE FROM mdblist_scores RETURNING 1")
        assert version_of(home.must("enrich_mdblist"), "mdblist_scores") != version_of(answered, "mdblist_scores")
