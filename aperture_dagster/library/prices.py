"""Prices of AI models: what a price list says, which of it is believed, and what a library costs.

Prices are in US dollars per million tokens. A model is known by its provider and its name there: the same name costs
different amounts elsewhere. An unknown price is None, never 0.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from decimal import ROUND_HALF_EVEN, Decimal
from typing import Any, Literal

Usage = Literal["embedding", "text"]
Key = tuple[str, str]
"""Provider and model."""

MILLION = 1_000_000
# Higher prices are errors of unit: the dearest embedding models cost less than 1 USD.
HIGHEST: Mapping[Usage, Decimal] = {"embedding": Decimal(5), "text": Decimal(200)}
LARGEST_CHANGE = 3
LEAST_SHARE_OF_KEYS = Decimal("0.9")
# Entries of LiteLLM's list that are not models.
NO_MODELS = ("sample_spec", "fallback_generalizations")
_USAGES: Mapping[str, Usage] = {"embedding": "embedding", "chat": "text", "completion": "text", "responses": "text"}
LONGEST_NAME = 300
_SMALLEST = Decimal("1E-9")
MOST_TOKENS = 100_000_000
_REMOTE = re.compile(r"(?:^|[-:])cloud$")

LOCAL = "local"
AZURE = "azure"
# Providers as LiteLLM's list names them, by the host of their OpenAI-compatible endpoint.
PROVIDERS = {
    "api.openai.com": "openai", "eu.api.openai.com": "openai", "openrouter.ai": "openrouter",
    "api.mistral.ai": "mistral", "generativelanguage.googleapis.com": "gemini", "api.voyageai.com": "voyage",
    "api.cohere.ai": "cohere", "api.cohere.com": "cohere", "api.together.xyz": "together_ai",
    "api.together.ai": "together_ai", "api.fireworks.ai": "fireworks_ai", "api.novita.ai": "novita",
    "api.studio.nebius.com": "nebius", "api.studio.nebius.ai": "nebius", "api.tokenfactory.nebius.com": "nebius",
    "api.scaleway.ai": "scaleway", "api.perplexity.ai": "perplexity", "api.deepinfra.com": "deepinfra",
    "ai-gateway.vercel.sh": "vercel_ai_gateway", "api.deepseek.com": "deepseek", "api.groq.com": "groq",
    "api.anthropic.com": "anthropic",
}  # fmt: skip
_AZURE_HOSTS = (".openai.azure.com", ".services.ai.azure.com", ".cognitiveservices.azure.com")


class PriceListRejected(ValueError):
    """A price list is refused as a whole; the message says why, for the operator."""


@dataclass(frozen=True, slots=True)
class Price:
    """What a model costs per million tokens, and its sizes; what is not known is None."""

    usage: Usage
    input: Decimal | None
    output: Decimal | None = None
    max_input_tokens: int | None = None
    dimensions: int | None = None

    @property
    def is_known(self) -> bool:
        """Whether there is a price for everything that the model's use costs."""
        prices = (self.input,) if self.usage == "embedding" else (self.input, self.output)
        return all(prices)


@dataclass(frozen=True, slots=True)
class PriceList:
    """A parsed list: prices, the number of its entries, and what was wrong with some."""

    prices: Mapping[Key, Price]
    entries: int
    problems: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class OfferedModel:
    """A model in an endpoint's list; what the endpoint does not say is None.

    ``is_remote``: a server at home lists it, and passes its requests on to somebody else's.
    """

    model: str
    is_embedding: bool | None = None
    is_remote: bool = False
    max_input_tokens: int | None = None


@dataclass(frozen=True, slots=True)
class Dispute:
    """A listed price that was not believed, and why."""

    listed: Price
    reason: str


@dataclass(frozen=True, slots=True)
class Review:
    """Result of :func:`review`: new prices with their sources (``list``, ``package``), and listed ones in dispute."""

    changes: dict[Key, Price] = field(default_factory=dict)
    sources: dict[Key, str] = field(default_factory=dict)
    disputes: dict[Key, Dispute] = field(default_factory=dict)


def parse_price_list(content: bytes) -> PriceList:
    """Parse a list in the format of LiteLLM's model cost map.

    Each field is checked by itself; unknown fields and models of other uses (pictures, speech) are ignored.

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
    prices: dict[Key, Price] = {}
    problems: list[str] = []
    for name, entry in entries.items():
        if name in NO_MODELS:
            continue
        if len(name) > LONGEST_NAME:
            problems.append(f"{name[:LONGEST_NAME]}…: the name is too long")
            continue
        if not isinstance(entry, dict):
            problems.append(f"{name}: the entry is not an object")
            continue
        mode, provider = _text(entry.get("mode")), _text(entry.get("litellm_provider"))
        usage = _USAGES.get(mode or "")
        if usage is None:
            continue
        if provider is None:
            problems.append(f"{name}: no provider is named")
            continue
        # Some embedding models are filed as chat models.
        usage = "embedding" if "embed" in name.lower() else usage
        provider = provider.removesuffix("-embedding-models")
        key = (provider, name.removeprefix(f"{provider}/"))
        wrong = [one for one in ("input_cost_per_token", "output_cost_per_token") if _is_wrong(entry.get(one))]
        problems += [f"{name}: {one} is not a number" for one in wrong]
        price = Price(
            usage,
            _per_million(entry.get("input_cost_per_token")),
            _per_million(entry.get("output_cost_per_token")) if usage == "text" else None,
            _whole_number(entry.get("max_input_tokens")),
            _whole_number(entry.get("output_vector_size")) if usage == "embedding" else None,
        )
        before = prices.get(key)
        if before is not None and (before.input, before.output) != (price.input, price.output):
            problems.append(f"{name}: is listed twice, with different prices")
            price = replace(price, input=None, output=None)
        prices[key] = price
    if not any(price.is_known for price in prices.values()):
        raise PriceListRejected("the price list holds no price")
    return PriceList(prices, len(entries.keys() - set(NO_MODELS)), tuple(problems))


def require_complete(entries: int, *, last: int | None) -> None:
    """Refuse a list that lost more than a tenth of its entries since the last one that was accepted.

    Raises:
        PriceListRejected: it did.
    """
    if last is not None and entries < LEAST_SHARE_OF_KEYS * last:
        raise PriceListRejected(f"the price list has only {entries:,} entries, after {last:,} the last time")


def review(
    listed: Mapping[Key, Price],
    current: Mapping[Key, Price],
    packaged: Mapping[Key, Price],
    *,
    prefer_package: frozenset[Key] = frozenset(),
) -> Review:
    """Decide which listed prices to use.

    A price must be within a factor of 3 of the one before and of the packaged one, and below the highest possible.
    Otherwise the one before stays in use, or the packaged one, and the listed one is disputed.

    Args:
        listed: prices of the list; empty if there is none.
        current: prices in use.
        packaged: prices that ship with the package.
        prefer_package: models whose packaged price is newer than the one in use, and takes its place.
    """
    found = Review()
    for key in dict.fromkeys([*packaged, *listed]):
        ours, before, offered = packaged.get(key), current.get(key), listed.get(key)
        base, source = before, "current"
        if ours is not None and (before is None or key in prefer_package):
            # The package has no sizes.
            base = replace(before or ours, input=ours.input, output=ours.output)
            source = "package"
        if offered is not None:
            reason = why_disputed(offered, base, ours)
            if reason is not None:
                found.disputes[key] = Dispute(offered, reason)
            elif offered.is_known:
                base, source = offered, "list"
        if base is not None and base != before:
            found.changes[key], found.sources[key] = base, source
    return found


def why_disputed(listed: Price, before: Price | None, packaged: Price | None) -> str | None:
    """Say why a listed price is not believed, as the end of a sentence; None if it is, or if no price is listed.

    A price of 0 is disputed only if another is known: for paid providers, 0 means that nobody entered one.
    """
    highest = HIGHEST[listed.usage]
    for name in ("input", "output"):
        price: Decimal | None = getattr(listed, name)
        if price is None:
            continue
        known = {"the price before": before, "the packaged price": packaged}
        others = {what: getattr(other, name) for what, other in known.items() if other is not None}
        if price <= 0:
            if any(others.values()):
                return f"{name} tokens are listed as free"
            continue
        if price > highest:
            return f"{show(price)} USD for a million {name} tokens is more than {show(highest)}"
        for what, other in others.items():
            if other and not other / LARGEST_CHANGE <= price <= other * LARGEST_CHANGE:
                return (
                    f"{show(price)} USD for a million {name} tokens differs from {what}, {show(other)}, "
                    f"by more than a factor of {LARGEST_CHANGE}"
                )
    return None


def provider_of_host(host: str, *, at_home: bool) -> str | None:
    """Return the provider behind a host: ``LOCAL`` if it is in the home; None if it is not known."""
    host = host.lower().rstrip(".")
    if at_home:
        return LOCAL
    return AZURE if host.endswith(_AZURE_HOSTS) else PROVIDERS.get(host)


def names_remote_model(model: str) -> bool:
    """Return whether a model's name says that Ollama runs it in its cloud, such as ``gpt-oss:120b-cloud``."""
    return _REMOTE.search(model) is not None


def without_default_tag(model: str) -> str:
    """Return a name without the tag that Ollama adds: ``x:latest`` is ``x``."""
    return model.removesuffix(":latest")


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


def _text(value: Any) -> str | None:
    return value.strip() or None if isinstance(value, str) else None


def _is_wrong(value: Any) -> bool:
    return value is not None and not isinstance(value, Decimal)


def _per_million(value: Any) -> Decimal | None:
    """Convert dollars per token; None for what is not a number. A negative price means that it varies."""
    if not isinstance(value, Decimal) or value < 0:
        return None
    # Limited first: the exponents of JSON numbers have no bounds.
    per_million = min(value, Decimal(1)) * MILLION
    return per_million.quantize(_SMALLEST, ROUND_HALF_EVEN).normalize() if per_million >= _SMALLEST else Decimal(0)


def _whole_number(value: Any) -> int | None:
    is_usable = isinstance(value, Decimal) and 0 < value <= MOST_TOKENS and value == value.to_integral_value()
    return int(value) if is_usable else None
