"""Prices of embedding models: what a list says, and which of it is usable."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest

from aperture_dagster.prices.price_list import (
    LOCAL,
    PriceListRejected,
    cost,
    estimate_tokens,
    is_same_model,
    names_remote_model,
    parse_price_list,
    provider_of_host,
    show,
)

SMALL = ("openai", "text-embedding-3-small")
ENTRY = {"litellm_provider": "openai", "mode": "embedding", "input_cost_per_token": 2e-08}
GOOD = {"text-embedding-3-small": ENTRY}


def parsed(entries: object) -> dict[tuple[str, str], Decimal]:
    return plausible(json.dumps(entries))


def plausible(content: str) -> dict[tuple[str, str], Decimal]:
    return {key: price for key, price in parse_price_list(content.encode()).items() if price is not None}


def test_a_price_for_a_token_becomes_the_exact_price_for_a_million_of_a_model_at_a_provider():
    chat = {"mode": "chat", "input_cost_per_token": 1e-07, "output_cost_per_token": 4e-07, "something_new": ["x"]}
    found = parsed(
        GOOD
        | {
            "azure/text-embedding-3-small": ENTRY | {"litellm_provider": "azure", "input_cost_per_token": 2.2e-08},
            "fireworks_ai/m": ENTRY | {"litellm_provider": "fireworks_ai-embedding-models"},
            "gemini/flash": chat | {"litellm_provider": "gemini"},
            # Filed as what it is not.
            "gemini/embedding": chat | {"litellm_provider": "gemini"},
        }
    )
    assert found == {
        SMALL: Decimal("0.02"),
        ("azure", "text-embedding-3-small"): Decimal("0.022"),
        ("fireworks_ai", "m"): Decimal("0.02"),
        ("gemini", "embedding"): Decimal("0.1"),
    }


@pytest.mark.parametrize(
    "entry",
    [
        "free",
        ENTRY | {"litellm_provider": None},
        ENTRY | {"mode": "image_generation"},
        {"mode": "chat", "litellm_provider": "openai", "input_cost_per_token": 1e-06},
        {"mode": "chat", "litellm_provider": "openai", "input_cost_per_token": 1e-06, "output_cost_per_token": 6e-6},
        ENTRY | {"litellm_provider": "volcengine"},
        *(ENTRY | {"input_cost_per_token": price} for price in ("0.00000002", True, None, -1, 0)),
        # More than any model costs: errors of unit.
        ENTRY | {"input_cost_per_token": 5.01e-06},
    ],
    ids=str,
)
def test_what_has_no_plausible_price_is_unknown_and_costs_only_its_entry(entry: Any):
    assert set(parsed({"odd": entry} | GOOD)) == {SMALL}
    assert parsed({"dear": ENTRY | {"input_cost_per_token": 5e-06}})["openai", "dear"] == 5


@pytest.mark.parametrize("number", ["1e999999", "1e-999999", "NaN"])
def test_absurd_numbers_are_neither_prices_nor_crashes(number: str):
    odd = json.dumps({"odd": ENTRY | {"input_cost_per_token": "?"}} | GOOD).replace('"?"', number)
    assert set(plausible(odd)) == {SMALL}


@pytest.mark.parametrize("content", [b"[]", b"{}", json.dumps(GOOD).encode()[:-4], b'{"a": 1}', b"[" * 100_000])
def test_a_broken_list_is_refused_as_a_whole(content: bytes):
    with pytest.raises(PriceListRejected):
        parse_price_list(content)


def test_a_list_may_decorate_the_names_of_models():
    assert is_same_model("nomic-embed-text", "nomic-embed-text:latest")
    assert is_same_model("text-embedding-004", "models/text-embedding-004")
    assert not is_same_model("embed", "embed:8b") and not is_same_model("embed", "other/embed")


@pytest.mark.parametrize(
    ("host", "at_home", "provider"),
    [
        ("API.OpenAI.com.", False, "openai"),
        ("my-resource.openai.azure.com", False, "azure"),
        ("openai.azure.com.example.org", False, None),
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
            "Мальчик с фермы на пустынной планете покупает двух дроидов с тайным посланием и оказывается втянут в "
            "восстание против оружия размером с луну.",
            69,
        ),
        (
            "砂漠の惑星に住む農家の少年が、秘密のメッセージを持つ二体のドロイドを買い、月ほどの大きさの兵器に対する反乱に巻き込まれていく。",
            76,
        ),
    ],
    ids=["English", "Russian", "Japanese"],
)
def test_tokens_are_estimated_within_a_fifth(text: str, tokens: int):
    assert estimate_tokens(text) == pytest.approx(tokens, rel=0.2)
