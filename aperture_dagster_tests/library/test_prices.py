"""Prices of AI models: what a list says, and which of it is believed."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest

from aperture_dagster.library.prices import (
    LOCAL,
    Price,
    PriceListRejected,
    cost,
    estimate_tokens,
    names_remote_model,
    parse_price_list,
    provider_of_host,
    require_complete,
    review,
    show,
)

SMALL = ("openai", "text-embedding-3-small")


def listed(**fields: Any) -> bytes:
    """Return a list with one entry, of which ``fields`` override the usual ones."""
    usual = {"litellm_provider": "openai", "mode": "embedding", "input_cost_per_token": 2e-08}
    return json.dumps({"text-embedding-3-small": usual | fields}).encode()


def embedding(price: str | None) -> Price:
    return Price("embedding", None if price is None else Decimal(price))


def test_a_price_for_a_token_becomes_the_exact_price_for_a_million():
    content = listed(output_vector_size=1536.0, max_input_tokens=8191, output_cost_per_token=0.0, something_new=["x"])
    assert parse_price_list(content).prices == {SMALL: Price("embedding", Decimal("0.02"), None, 8191, 1536)}


def test_the_same_name_has_a_price_for_each_provider():
    found = parse_price_list(
        b'{"m": {"litellm_provider": "openai", "mode": "embedding", "input_cost_per_token": 2e-8},'
        b' "azure/m": {"litellm_provider": "azure", "mode": "embedding", "input_cost_per_token": 2.2e-8},'
        b' "fireworks_ai/m": {"litellm_provider": "fireworks_ai-embedding-models", "mode": "embedding",'
        b'   "input_cost_per_token": 3e-8}}'
    )
    assert {key: str(price.input) for key, price in found.prices.items()} == {
        ("openai", "m"): "0.02",
        ("azure", "m"): "0.022",
        ("fireworks_ai", "m"): "0.03",
    }


@pytest.mark.parametrize(
    "price", ["0.00000002", True, [2e-08], {"usd": 1}, None, -1], ids=["text", "bool", "list", "object", "null", "-1"]
)
def test_what_is_not_a_price_is_unknown_and_costs_only_its_entry(price: Any):
    entries = json.loads(listed()) | {"odd": json.loads(listed(input_cost_per_token=price))["text-embedding-3-small"]}
    found = parse_price_list(json.dumps(entries).encode())
    assert found.prices[SMALL].input == Decimal("0.02")
    assert found.prices["openai", "odd"].input is None
    assert bool(found.problems) == (price is not None and price != -1)


@pytest.mark.parametrize("number", ["1e999999", "1e-999999", "123456789e50", "NaN", "Infinity"])
def test_absurd_numbers_are_neither_prices_nor_crashes(number: str):
    content = listed().replace(b"2e-08", number.encode()).replace(b"}}", b'}, "fine": ') + listed()[26:]
    found = parse_price_list(content)
    odd, fine = found.prices[SMALL], found.prices["openai", "fine"]
    assert fine.input == Decimal("0.02")
    decided = review({SMALL: odd}, {SMALL: embedding("0.02")}, {})
    assert not decided.changes


def test_a_name_that_no_index_can_hold_costs_only_its_entry():
    entry = {"mode": "embedding", "litellm_provider": "openai", "input_cost_per_token": 2e-08}
    parsed = parse_price_list(json.dumps({"x" * 301: entry, "y" * 300: entry, "z" * 10_000: entry}).encode())
    assert list(parsed.prices) == [("openai", "y" * 300)]
    assert parsed.problems == tuple(f"{letter * 300}…: the name is too long" for letter in "xz")


def test_entries_that_are_none_are_named_and_what_comes_after_them_counts():
    content = {"text": "free", "nameless": {"mode": "embedding", "input_cost_per_token": 1e-6}} | json.loads(listed())
    found = parse_price_list(json.dumps(content).encode())
    assert set(found.prices) == {SMALL}
    assert found.problems == ("text: the entry is not an object", "nameless: no provider is named")


def test_an_entry_listed_twice_with_different_prices_is_unknown():
    twice = json.loads(listed()) | {
        "openai/text-embedding-3-small": {
            "litellm_provider": "openai", "mode": "embedding", "input_cost_per_token": 9e-08
        },
        "other": {"litellm_provider": "openai", "mode": "chat", "input_cost_per_token": 1, "output_cost_per_token": 1},
    }  # fmt: skip
    found = parse_price_list(json.dumps(twice).encode())
    assert found.prices[SMALL].input is None
    assert "listed twice" in found.problems[0]


def test_sentences_in_the_sample_and_other_uses_are_no_models():
    content = {
        "sample_spec": {"mode": "chat", "litellm_provider": "one of", "input_cost_per_token": "a price"},
        "fallback_generalizations": {"mode": "chat", "litellm_provider": "x", "input_cost_per_token": 1e-6},
        "picture": {"mode": "image_generation", "litellm_provider": "openai", "input_cost_per_token": 1e-6},
    } | json.loads(listed())
    found = parse_price_list(json.dumps(content).encode())
    assert set(found.prices) == {SMALL}
    assert (found.entries, found.problems) == (2, ())


@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b"<html>", listed()[:-4], b'{"a": 1}', b"[" * 100_000])
def test_a_broken_list_is_refused_as_a_whole(content: bytes):
    with pytest.raises(PriceListRejected):
        parse_price_list(content)


def test_a_list_that_lost_more_than_a_tenth_of_its_entries_is_refused():
    require_complete(90, last=100)
    require_complete(1, last=None)
    with pytest.raises(PriceListRejected, match="only 89 entries, after 100"):
        require_complete(89, last=100)


@pytest.mark.parametrize(
    ("before", "packaged", "new", "used"),
    [
        (None, None, "0.02", "0.02"),
        (None, None, "5", "5"),
        (None, None, "5.01", None),
        (None, None, "20", None),
        ("0.02", None, "0.06", "0.06"),
        ("0.02", None, "0.061", "0.02"),
        ("0.06", None, "0.02", "0.02"),
        ("0.06", None, "0.0199", "0.06"),
        ("0.05", "0.02", "0.07", "0.05"),
        (None, "0.02", "0.07", "0.02"),
        ("0.02", "0.02", "0", "0.02"),
        (None, None, "0", None),
        ("0.02", None, None, "0.02"),
        ("0.02", "0.13", "0.02", "0.02"),
    ],
)
def test_a_new_price_is_used_only_if_it_is_plausible(
    before: str | None, packaged: str | None, new: str | None, used: str | None
):
    def known(price: str | None) -> dict[tuple[str, str], Price]:
        return {} if price is None else {SMALL: embedding(price)}

    decided = review({SMALL: embedding(new)}, known(before), known(packaged))
    in_use = decided.changes.get(SMALL) or known(before).get(SMALL)
    assert (in_use.input if in_use else None) == (None if used is None else Decimal(used))
    # A price that is not used is in dispute, unless none is listed or none was ever known.
    is_refused = new is not None and new != used and not (new == "0" and before is None and packaged is None)
    assert (SMALL in decided.disputes) == (is_refused or (before, packaged) == ("0.02", "0.13"))


def test_a_text_model_needs_both_prices():
    model = ("openai", "gpt")
    for price in (
        Price("text", Decimal(1), None),
        Price("text", Decimal(1), Decimal(0)),
        Price("text", None, Decimal(1)),
    ):
        assert not review({model: price}, {}, {}).changes
    dear = Price("text", Decimal(150), Decimal(600))
    assert "600.00 USD for a million output tokens" in review({model: dear}, {}, {}).disputes[model].reason


def test_a_newer_packaged_price_replaces_a_stored_one_and_keeps_its_sizes():
    stored = Price("embedding", Decimal("0.02"), None, 8191, 1536)
    decided = review({}, {SMALL: stored}, {SMALL: embedding("0.10")}, prefer_package=frozenset([SMALL]))
    assert decided.changes == {SMALL: Price("embedding", Decimal("0.10"), None, 8191, 1536)}
    assert not review({}, {SMALL: stored}, {SMALL: embedding("0.10")}).changes
    assert not review({}, {SMALL: stored}, {SMALL: embedding("0.02")}, prefer_package=frozenset([SMALL])).changes


@pytest.mark.parametrize(
    ("host", "at_home", "provider"),
    [
        ("api.openai.com", False, "openai"),
        ("API.OpenAI.com.", False, "openai"),
        ("my-resource.openai.azure.com", False, "azure"),
        ("openai.azure.com.example.org", False, None),
        ("notapi.openai.com.example.org", False, None),
        ("openrouter.ai", False, "openrouter"),
        ("llm.example.org", False, None),
        ("192.168.1.5", True, LOCAL),
    ],
)
def test_the_provider_follows_from_the_whole_host(host: str, at_home: bool, provider: str | None):
    assert provider_of_host(host, at_home=at_home) == provider


def test_models_of_ollamas_cloud_are_known_by_their_names():
    remote = ["gpt-oss:120b-cloud", "qwen3-coder:480b-cloud", "kimi-k2:cloud"]
    assert all(map(names_remote_model, remote))
    assert not any(map(names_remote_model, ["nomic-embed-text:latest", "cloudy", "cloud-model:1b", "mycloud"]))


def test_costs_are_exact_and_shown_with_the_places_they_need():
    assert cost(1_200_000, Decimal("0.02")) == Decimal("0.024")
    shown = ["0", "0.0000123", "0.02", "0.1", "0.143", "3", "1234.5"]
    assert [show(Decimal(one)) for one in shown] == ["0", "0.0000123", "0.02", "0.10", "0.143", "3.00", "1,234.50"]


# Counted with cl100k_base, the encoding of OpenAI's embedding models.
@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        (
            "A farm boy on a desert planet buys two droids with a secret message and is drawn into a rebellion against "
            "a moon-sized weapon.",
            27,
        ),
        (
            "Un jeune fermier d'une planète désertique achète deux droïdes porteurs d'un message secret et se retrouve "
            "entraîné dans une rébellion contre une arme grande comme une lune.",
            44,
        ),
        (
            "Мальчик с фермы на пустынной планете покупает двух дроидов с тайным посланием и оказывается втянут в "
            "восстание против оружия размером с луну.",
            69,
        ),
        (
            "砂漠の惑星に住む農家の少年が、秘密のメッセージを持つ二体のドロイドを買い、月ほどの大きさの兵器に対する反乱に巻き込まれていく。",
            76,
        ),
    ],
    ids=["English", "French", "Russian", "Japanese"],
)
def test_tokens_are_estimated_within_a_fifth(text: str, tokens: int):
    assert estimate_tokens(text) == pytest.approx(tokens, rel=0.2)
