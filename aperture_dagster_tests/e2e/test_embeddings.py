"""Vectors from an endpoint that refuses some texts, or has no more credit."""

from __future__ import annotations

import pytest

from aperture_dagster_tests.e2e.library import title, titles
from aperture_dagster_tests.household import failures, metadata_of

pytestmark = pytest.mark.e2e


def embed(here):
    return here.home.run("generate_embeddings")


def test_a_refused_text_costs_one_title_its_vector_and_is_named(library):
    """Finding R11: the whole unit was lost, and the model was never used."""
    films = [*titles(1, 40), title(41, title="A forbidden film", overview="forbidden")]
    with library(films, embedder="openai", stand_ins={"embedding_refused_words": ("forbidden",)}) as here:
        here.home.must("enrich_metadata", assets=["enriched_metadata"])
        result = embed(here)
        assert result.success, failures(result)
        told = metadata_of(result, "embeddings")
        assert (told["embedded"], told["refused"], told["missing"]) == (40, 1, 1)
        assert told["model_in_use"] == told["model"]
        (named,) = [record.data for record in told["refused_titles"].records]
        assert named["title"] == "A forbidden film"
        assert "content management policy" in named["why"]
        assert "refuses their texts: 1. The first is A forbidden film" in here.log(result)
        assert here.home.value("SELECT count(*) FROM embeddings") == 40
        # Nothing is embedded again but the one that is still missing.
        again = metadata_of(embed(here), "embeddings")
        assert (again["embedded"], again["refused"], again["requests"]) == (0, 1, 1)


def test_a_refused_text_that_had_a_vector_before_does_not_keep_a_new_model_out(library):
    """Finding R11: the first run with a model may end early, and a text may be changed before the next."""
    with library(titles(1, 3), embedder="openai", stand_ins={"embedding_refused_words": ("forbidden",)}) as here:
        here.home.must("enrich_metadata", assets=["enriched_metadata"])
        embed(here)
        here.shelf.do("UPDATE embedding_models SET activated_at = NULL")
        here.shelve(*titles(1, 2), title(3, title="A forbidden film"))
        here.home.must("enrich_metadata", assets=["enriched_metadata"])
        told = metadata_of(embed(here), "embeddings")
        assert (told["refused"], told["missing"]) == (1, 0)
        assert told["model_in_use"] == told["model"]


def test_an_account_without_credit_ends_the_step_with_a_sentence(library):
    """Finding R11: it was asked again and again, and the step tried again."""
    with library(titles(1, 30), embedder="openai", step_retries=3, stand_ins={"embedding_credit": 0}) as here:
        here.home.must("enrich_metadata", assets=["enriched_metadata"])
        result = embed(here)
        assert not result.success
        told = failures(result)["embeddings"]
        assert "no credit left" in told and "APERTURE_EMBEDDER" in told
        assert here.state.requests("openai") == 1
        assert not [event for event in result.all_events if event.is_step_up_for_retry]
