"""Embeddings from an endpoint that refuses some texts, or has no credit left."""

from __future__ import annotations

import pytest

from aperture_dagster_tests.e2e.library import losing_rows, title, titles
from aperture_dagster_tests.household import Household, failures, metadata_of

pytestmark = pytest.mark.e2e


def embed(here):
    return here.home.run("generate_embeddings")


def test_a_refused_text_affects_one_title_which_is_reported(library):
    """The other texts of the batch are embedded, and the model is activated."""
    films = [*titles(1, 40), title(41, title="A forbidden film", overview="forbidden")]
    with library(films, embedder="openai", stand_ins={"embedding_refused_words": ("forbidden",)}) as here:
        here.home.must("enrich_metadata", assets=["enriched_metadata"])
        result = embed(here)
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
        again = metadata_of(embed(here), "embeddings")
        assert (again["embedded"], again["refused"], again["requests"]) == (0, 1, 1)


def test_a_model_that_lacks_a_vector_waits_and_the_old_one_stays_in_use(library):
    with library(titles(1, 40), embedder="openai") as here:
        here.home.must("enrich_metadata", assets=["enriched_metadata"])
        old = metadata_of(embed(here), "embeddings")["model_in_use"]
        other = Household(here.home.settings.model_copy(update={"embedder": "static"}), here.home.instance)
        with losing_rows(here.home, "embeddings", "NEW.work_id = 7"):
            metadata = metadata_of(other.must("generate_embeddings"), "embeddings")
            assert (metadata["embedded"], metadata["missing"], metadata["refused"]) == (40, 1, 0)
            assert metadata["model_in_use"] == old != metadata["model"]
        metadata = metadata_of(other.must("generate_embeddings"), "embeddings")
        assert (metadata["embedded"], metadata["missing"]) == (1, 0)
        assert metadata["model_in_use"] == metadata["model"] != old
