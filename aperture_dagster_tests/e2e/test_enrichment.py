"""From the sources to the merged view and the vectors: requests, quotas and faults, by real runs."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import dagster as dg
import pytest

from aperture_dagster.simulator.responses import FaultRule
from aperture_dagster.taste.ranking.text import title_text
from aperture_dagster.taste.vectors import text_rows
from aperture_dagster_tests.e2e.library import ASSETS, JOBS, Library, imdb, title, titles
from aperture_dagster_tests.household import Household, failed_checks, failures, markdown_rows, metadata_of

pytestmark = pytest.mark.e2e

DAILY = 12


# Requests: one per title or per batch, and none for what is known already


def test_tmdb_gets_one_request_per_title_and_unknown_id(library):
    known = [*titles(1, 3), *titles(4, 6, collection=(99, "Saga"))]
    nameless = title(7)
    show = title(8, media_type="series", tvdb_id=808, imdb_id=None)
    shelved = [*known, replace(nameless, tmdb_id=None), replace(show, tmdb_id=None)]
    with library([*known, nameless, show], shelved=shelved) as here:
        here.ask("tmdb")
        details = {f"movie/{number}" for number in range(1, 8)} | {"tv/8"}
        finds = {f"find/{imdb(7)}", "find/808"}
        assert here.state.asked("tmdb") == Counter({one: 1 for one in details | finds})
        assert here.count("tmdb") == {"ok": 8}
        here.ask("tmdb")
        assert here.state.asked("tmdb").total() == 10
        here.move(days=31)
        here.ask("tmdb")
        assert here.state.asked("tmdb") == Counter({one: 2 for one in details} | {one: 1 for one in finds})


def test_the_batch_size_adapts_to_what_mdblist_accepts_and_is_remembered(library):
    stand_ins = {"mdblist_largest_batch": 10, "mdblist_batch_refusal": 413}
    with library(titles(1, 45), batch=20, stand_ins=stand_ins) as here:
        metadata = here.ask("mdblist")
        assert (metadata["fetched"], metadata["batch_size"]) == (45, 10)
        assert here.state.requests("mdblist") == 1 + 5, "one was refused"
        here.state.reset_counters()
        here.move(days=8)
        metadata = here.ask("mdblist")
        assert (metadata["fetched"], metadata["requests"], metadata["batch_size"]) == (45, 5, 10)


def test_a_refused_id_is_isolated_without_a_request_for_each_other_one(library):
    with library(titles(1, 100), batch=100) as here:
        # Refused: the batch of 100, of 50, of 10, and the first id by itself.
        here.state.add_fault(FaultRule("mdblist", status=400, times=4))
        metadata = here.ask("mdblist")
        assert here.count("mdblist") == {"ok": 99, "error": 1}
        # Nine others of the first ten one by one, the next forty in four batches, and the other fifty in one.
        assert (metadata["requests"], metadata["batch_size"]) == (4 + 9 + 4 + 1, 100)


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
        here.move(days=31)
        assert here.ask("tmdb")["fetched"] == 2
        asked = dict(here.state.asked("tmdb"))
        assert asked == {"movie/101": 1, "tv/103": 1, "movie/2": 1}, "the new id is remembered"


def test_a_free_key_requests_every_title_once_over_some_days(library):
    with library(titles(1, 24), omdb_daily_limit=DAILY, stand_ins={"omdb_daily_limit": DAILY}) as here:
        for day in range(2):
            if day:
                here.next_day()
            metadata = here.ask("omdb")
            assert here.state.requests("omdb") == DAILY * (day + 1)
            assert (metadata["quota_used"], metadata["quota_limit"]) == (DAILY, DAILY)
            assert metadata["still_due"] == 24 - DAILY * (day + 1)
            assert ("resumes_at" in metadata) is (day < 1)
        assert here.state.asked("omdb") == Counter({imdb(number): 1 for number in range(1, 25)})
        assert here.count("omdb") == {"ok": 24} and here.used("omdb") == 24
        assert here.home.value("SELECT count(*) FROM omdb_ratings") == 24


# Faults


def test_a_service_that_is_down_is_soon_skipped_and_the_others_are_used(library):
    """Answers of the others are stored and merged; only titles that were tried are marked as failed."""
    with library(titles(1, 60), http_attempts=1) as here:
        here.state.add_fault(FaultRule("omdb", status=503, after=20))
        result = here.home.run("enrich_metadata")
        errors = failures(result)
        assert list(errors) == ["omdb_ratings"]
        assert errors["omdb_ratings"].startswith("OMDb cannot be reached: ")
        assert "20 titles were fetched before" in errors["omdb_ratings"]
        assert errors["omdb_ratings"].endswith("What was there is kept; the next run goes on from here.")
        assert metadata_of(result, "tmdb_metadata")["fetched"] == 60
        standing = here.count("omdb")
        # Eight in a row; two more may be in flight, and two may have failed before the last good answer.
        assert standing["ok"] == 20 and 8 <= standing["error"] <= 8 + 2 + 2
        assert standing["waiting"] == 60 - 20 - standing["error"]
        merged = metadata_of(here.home.must("enrich_mdblist"), "enriched_metadata")
        assert merged["dagster/row_count"] == 60
        came_from = here.home.rows("SELECT DISTINCT key, value FROM enriched_metadata, jsonb_each_text(sources)")
        pairs = {(row["key"], row["value"]) for row in came_from}
        assert {("vote_average", "tmdb"), ("imdb_rating", "omdb"), ("trakt", "mdblist")} <= pairs
        here.state.clear_faults()
        here.move(hours=6)
        here.home.must("enrich_metadata")
        assert here.count("omdb") == {"ok": 60}


def test_a_wrong_address_marks_no_title_as_unknown(library):
    with library(titles(1, 30), http_attempts=1) as here:
        for source, path in (("tmdb", "/nowhere"), ("omdb", "/nowhere"), ("mdblist", "/nowhere")):
            wrong = here.home.settings.model_copy(update={f"{source}_url": here.simulator.url + path})
            result = Household(wrong, here.home.instance, clock=here.clock).run(JOBS[source], assets=[ASSETS[source]])
            messages = [*failures(result).values(), *here.why(source).values()]
            assert messages and all(f"APERTURE_{source.upper()}_URL" in said for said in messages)
            assert set(here.count(source)) <= {"waiting", "error"}


# The merged view and the vectors


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
        shown = metadata_of(here.home.must("refresh_ai_pricing"), "ai_pricing")
        assert shown["configured_price"] == "0: It runs in this process." and shown["texts"] == 5


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


def version_of(result: dg.ExecuteInProcessResult, asset: str) -> str:
    """Return the data version that a run recorded."""
    (event,) = [one for one in result.get_asset_materialization_events() if one.asset_key == dg.AssetKey(asset)]
    return (event.materialization.tags or {})["dagster/data_version"]


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


def test_a_refused_text_affects_one_title_which_is_reported_and_the_page_of_prices_says_what_texts_cost(library):
    """The other texts of the batch are embedded, and the model is activated."""
    films = [*titles(1, 40), title(41, title="A forbidden film", overview="forbidden")]
    with library(films, embedder="openai", stand_ins={"embedding_refused_words": ("forbidden",)}) as here:
        here.home.must("enrich_metadata", assets=["enriched_metadata"])
        result = here.home.run("generate_embeddings")
        assert result.success, failures(result)
        metadata = metadata_of(result, "embeddings")
        assert (metadata["embedded"], metadata["refused"], metadata["missing"]) == (40, 1, 1)
        assert metadata["model_in_use"] == metadata["model"]
        (named,) = [record.data for record in metadata["refused_titles"].records]
        assert named["title"] == "A forbidden film"
        assert "content management policy" in named["why"]
        assert (
            "The model refuses the texts of 1 titles, which have no vector. The first is A forbidden film"
            in here.log(result)
        )
        assert here.home.value("SELECT count(*) FROM embeddings") == 40
        # Only the missing title is tried again.
        again = metadata_of(here.home.run("generate_embeddings"), "embeddings")
        assert (again["embedded"], again["refused"], again["requests"]) == (0, 1, 1)

        result = here.home.must("refresh_ai_pricing")
        shown = metadata_of(result, "ai_pricing")
        assert shown["configured_price"] == "0: It runs at home (127.0.0.1)."
        assert (shown["usd_library"], shown["offered"], shown["texts"]) == (0.0, 5, 41)
        assert failed_checks(result) == []
