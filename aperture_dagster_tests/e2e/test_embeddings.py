"""Embeddings from an endpoint that refuses some texts, or has no credit left."""

from __future__ import annotations

import pytest

from aperture_dagster_tests.e2e.library import title, titles
from aperture_dagster_tests.household import failures, metadata_of

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
