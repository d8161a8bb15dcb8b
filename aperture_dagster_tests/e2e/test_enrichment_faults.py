"""Faults of OMDb, MDBList and the picture host: outcomes of the titles, and messages for the operator."""

from __future__ import annotations

import pytest

from aperture_dagster.simulator.responses import FaultRule
from aperture_dagster_tests.e2e.library import ASSETS, JOBS, titles
from aperture_dagster_tests.household import Household, failures, metadata_of

pytestmark = pytest.mark.e2e


LABELS = {"tmdb": "TMDb", "omdb": "OMDb", "mdblist": "MDBList"}


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
