"""What a price list says, and which of it is usable.

Prices are in US dollars per million tokens. A model is known by its provider and its name there: the same name costs
different amounts elsewhere. An unknown price is absent, never 0.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from decimal import ROUND_HALF_EVEN, Decimal
from typing import Any

Key = tuple[str, str]
"""Provider and model."""
MILLION = 1_000_000
# Higher prices are errors of unit: the dearest embedding models cost less than 1 USD.
HIGHEST = Decimal(5)
LONGEST_NAME = 300
_SMALLEST = Decimal("1E-9")
_REMOTE = re.compile(r"(?:^|[-:])cloud$")
LOCAL = "local"
AZURE = "azure"
# Providers as LiteLLM's list names them, by the host of their OpenAI-compatible endpoint.
PROVIDERS = {
    "api.openai.com": "openai", "eu.api.openai.com": "openai", "openrouter.ai": "openrouter",
    "api.mistral.ai": "mistral", "generativelanguage.googleapis.com": "gemini", "api.voyageai.com": "voyage",
    "api.cohere.ai": "cohere", "api.cohere.com": "cohere", "api.together.xyz": "together_ai",
    "api.fireworks.ai": "fireworks_ai", "api.novita.ai": "novita", "api.tokenfactory.nebius.com": "nebius",
    "api.scaleway.ai": "scaleway", "api.perplexity.ai": "perplexity", "api.deepinfra.com": "deepinfra",
    "ai-gateway.vercel.sh": "vercel_ai_gateway",
}  # fmt: skip
CONFIGURABLE = frozenset({*PROVIDERS.values(), AZURE})
"""Providers with an endpoint that can be configured."""
_AZURE_HOSTS = (".openai.azure.com", ".services.ai.azure.com", ".cognitiveservices.azure.com")
# Their lists of models lack the embedding models, or the names that a deployment has.
LISTS_SAY_NOTHING = (AZURE, "openrouter")


class PriceListRejected(ValueError):
    """A price list is refused as a whole; the message says why, for the operator."""


@dataclass(frozen=True, slots=True)
class OfferedModel:
    """A model in an endpoint's list. ``is_remote``: a server at home passes its requests on to somebody else's."""

    model: str
    is_remote: bool = False


def parse_price_list(content: bytes) -> dict[Key, Decimal | None]:
    """Parse a list in the format of LiteLLM's model cost map; return the prices of embedding models that can be used.

    Each entry is checked by itself. The price is None if the list names the model without a plausible one. Left out
    are models that do not embed, and those of providers without an endpoint that can be configured.

    Raises:
        PriceListRejected: it is not JSON, not an object, or holds no price.
    """
    try:
        # Decimals, so that 2e-08 USD per token is exactly 0.02 USD per million.
        entries = json.loads(content, parse_float=Decimal, parse_int=Decimal, parse_constant=lambda name: None)
    except (ValueError, ArithmeticError, RecursionError):
        raise PriceListRejected("the price list is not JSON, or was cut off") from None
    if not isinstance(entries, dict):
        raise PriceListRejected(f"the price list is not an object with models, but a {type(entries).__name__}")
    prices: dict[Key, Decimal | None] = {}
    for name, entry in entries.items():
        provider = entry.get("litellm_provider") if isinstance(entry, dict) else None
        if not isinstance(provider, str) or len(name) > LONGEST_NAME:
            continue
        provider = provider.strip().removesuffix("-embedding-models")
        # Some embedding models are filed as chat models.
        embeds = entry.get("mode") == "embedding" or "embed" in name.lower()
        if embeds and provider in CONFIGURABLE:
            prices[provider, name.removeprefix(f"{provider}/")] = _per_million(entry.get("input_cost_per_token"))
    if all(price is None for price in prices.values()):
        raise PriceListRejected("the price list holds no price of an embedding model")
    return prices


def provider_of_host(host: str, *, at_home: bool) -> str | None:
    """Return the provider behind a host: ``LOCAL`` if it is in the home; None if it is not known."""
    host = host.lower().rstrip(".")
    if at_home:
        return LOCAL
    return AZURE if host.endswith(_AZURE_HOSTS) else PROVIDERS.get(host)


def names_remote_model(model: str) -> bool:
    """Return whether a model's name says that Ollama runs it in its cloud, such as ``gpt-oss:120b-cloud``."""
    return _REMOTE.search(model) is not None


def is_same_model(model: str, listed: str) -> bool:
    """Return whether a list names a model: Ollama adds ``:latest`` to names, Google puts ``models/`` before them."""
    return model.removesuffix(":latest") == listed.removesuffix(":latest").removeprefix("models/")


def estimate_tokens(text: str) -> int:
    """Estimate the tokens of a text.

    One for four ASCII characters, three for five other characters of alphabets, six for five characters of other
    scripts. Against ``cl100k_base``, which OpenAI's embedding models use, this is 4 % too much for English titles, and
    off by up to 12 % for texts in German, French, Russian, Japanese and Chinese.
    """
    ascii_characters = sum(character.isascii() for character in text)
    letters = sum("\x7f" < character < "\u0800" for character in text)
    return round(ascii_characters / 4 + 0.6 * letters + 1.2 * (len(text) - ascii_characters - letters))


def cost(tokens: int, price: Decimal) -> Decimal:
    """Return what so many tokens cost, in dollars."""
    return tokens * price / MILLION


def show(dollars: Decimal) -> str:
    """Format dollars with two decimal places, or as many as three significant digits need."""
    if dollars == 0:
        return "0"
    shown = f"{dollars:,.{max(2, 2 - dollars.adjusted())}f}"
    while shown.endswith("0") and shown[-3] != ".":
        shown = shown[:-1]
    return shown


def _per_million(value: Any) -> Decimal | None:
    """Convert dollars per token; None for what is no plausible price.

    A negative price means that it varies, and 0 that nobody entered one: no paid provider is free.
    """
    # Compared first: the exponents of JSON numbers have no bounds.
    if not isinstance(value, Decimal) or not 0 < value <= HIGHEST / MILLION:
        return None
    per_million = value * MILLION
    return per_million.quantize(_SMALLEST, ROUND_HALF_EVEN).normalize() if per_million >= _SMALLEST else None
