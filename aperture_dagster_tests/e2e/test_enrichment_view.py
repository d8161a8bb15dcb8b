"""From the answers of the sources to the merged view, the embedded texts and the checks."""

from __future__ import annotations

import dagster as dg
import pytest

from aperture_dagster.taste.ranking.text import title_text
from aperture_dagster.taste.vectors import text_rows
from aperture_dagster_tests.e2e.library import Library, imdb, title, titles
from aperture_dagster_tests.household import Household, failed_checks, markdown_rows, metadata_of

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


# Quiet runs


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
