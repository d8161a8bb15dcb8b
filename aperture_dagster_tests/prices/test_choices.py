"""What embedding models need, and what a change to another one means for a library."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from aperture_dagster.prices.choices import STATIC_PACE, Choice, Facts, choices
from aperture_dagster.prices.costs import IN_PROCESS, ModelCost
from aperture_dagster.prices.price_list import LOCAL
from aperture_dagster.prices.stored import embedding_paces
from aperture_dagster.taste.embed import model_key_of
from aperture_dagster.taste.embedder import FASTEMBED_MODEL, StaticEmbedder
from aperture_dagster_tests.shelf import Shelf, film

STATIC, FAST = (IN_PROCESS, "static"), (IN_PROCESS, FASTEMBED_MODEL)
SMALL, NOMIC = ("openai", "text-embedding-3-small"), (LOCAL, "nomic-embed-text")
FACTS: dict[str, Any] = {
    "texts": 6000, "in_use": model_key_of(StaticEmbedder()), "paces": {}, "provider": None, "has_key": False,
    "has_fastembed": False,
}  # fmt: skip


def chosen(model: tuple[str, str], *, is_configured: bool = False, **facts: Any) -> Choice:
    """Return the choice of a provider's model."""
    price = Decimal("0.02") if model[0] == "openai" else Decimal(0)
    cost = ModelCost(model[1], model[0], price, price, price, is_configured)
    (found,) = choices([cost], Facts(**{**FACTS, **facts}))
    return found


def test_a_key_is_needed_by_whom_and_one_that_is_set_counts_for_its_provider_alone():
    assert chosen(STATIC).need == "nothing"
    assert (chosen(FAST).need, chosen(FAST, has_fastembed=True).need) == ("package", "nothing")
    assert (chosen(SMALL).need, chosen(NOMIC).need) == ("key", "perhaps a key")
    assert chosen(SMALL, has_key=True, provider="openai").need == "key is set"
    # That of OpenAI does not open Mistral's door.
    assert chosen(("mistral", "mistral-embed"), has_key=True, provider="openai").need == "key"
    # A host that nobody knows is the provider of the configured model.
    assert chosen(("unknown", "m"), has_key=True, is_configured=True).need == "key is set"


def test_what_is_downloaded_and_kept_in_memory_is_unknown_rather_than_nothing():
    assert (chosen(STATIC).download, chosen(FAST).download, chosen(SMALL).download) == (0, 67, 0)
    assert chosen((IN_PROCESS, "intfloat/multilingual-e5-large")).download is None
    assert chosen(NOMIC).download is None, "the server at home downloads it"
    assert (chosen(STATIC).memory, chosen(STATIC).memory_is_least) == (20, False)
    assert (chosen(FAST).memory, chosen(FAST).memory_is_least) == (120, True)
    assert chosen(SMALL).memory == 0
    assert [chosen(model).leaves_home for model in (STATIC, FAST, NOMIC, SMALL)] == [False, False, False, True]


def test_all_vectors_are_made_anew_by_any_model_but_that_in_use():
    assert chosen(STATIC).vectors == 0
    assert chosen(STATIC, in_use=None).vectors == chosen(SMALL).vectors == 6000
    # Whose name begins like another one's is another one.
    in_use = "openai-nomic-embed-text-v2-moe-768-recipe1"
    assert chosen(NOMIC, in_use=in_use).vectors == 6000
    assert chosen((LOCAL, "nomic-embed-text-v2-moe"), in_use=in_use).vectors == 0


def test_the_time_is_that_of_this_machine_then_the_documented_one_and_unknown_otherwise():
    anew = chosen(STATIC, in_use=None)
    assert (anew.seconds, anew.is_measured) == (6000 / STATIC_PACE, False)
    measured = chosen(STATIC, in_use=None, paces={model_key_of(StaticEmbedder()): 100.0})
    assert (measured.seconds, measured.is_measured) == (60, True)
    assert chosen(FAST).seconds is None and chosen(SMALL).seconds is None
    pace = {"openai-text-embedding-3-small-1536-recipe1": 10.0}
    assert chosen(SMALL, paces=pace, provider="openai").seconds == 600
    assert chosen(("azure", SMALL[1]), paces=pace, provider="openai").seconds is None, "measured elsewhere"


def test_a_pace_is_the_median_of_large_batches_that_follow_one_another(shelf: Shelf):
    """Batches of 150, 120, 120, 5 and 120 texts: at 0, 12, 72 and 73 seconds, and the next day."""
    shelf.films(*(film(number) for number in range(515)))
    shelf.do("INSERT INTO embedding_models (model_key, dimensions) VALUES ('m', 2), ('small', 2)")
    works = [row["work_id"] for row in shelf.rows("SELECT work_id FROM works ORDER BY work_id")]
    for texts, seconds in ((150, 0), (120, 12), (120, 72), (5, 73), (120, 86_400)):
        batch, works = works[:texts], works[texts:]
        shelf.do(
            "INSERT INTO embeddings (model_key, work_id, text_hash, vector, updated_at) "
            "SELECT 'm', unnest(:works), '', '', timestamptz '2026-12-01 03:00+00' + :seconds * interval '1 second'",
            works=batch,
            seconds=seconds,
        )
    shelf.do(
        "INSERT INTO embeddings SELECT 'small', work_id, '', '' FROM works",
    )
    with shelf.open() as connection:
        # Ten texts per second, then two; of an even number, the median is between.
        assert embedding_paces(connection) == {"m": pytest.approx(6)}
