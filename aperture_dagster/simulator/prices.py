"""A stand-in for a public list of AI prices: LiteLLM's model cost map, as GitHub serves it.

Modelled after the file in LiteLLM 1.110.2: prices in dollars per token, entries that are no models, sentences instead
of numbers in ``sample_spec``, models of other uses, a price that is wrong by a factor of 1,000, and prices of 0 that
nobody entered. What the list holds is ``state.prices``, which tests change.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from starlette.responses import PlainTextResponse, Response

from aperture_dagster.simulator.responses import encode_json
from aperture_dagster.simulator.service import Operation, Request, StandIn
from aperture_dagster.simulator.settings import PRICES_FILE

if TYPE_CHECKING:
    from aperture_dagster.simulator.state import SimulatorState

_EMBEDDING: dict[str, tuple[str, float | None, int | None]] = {
    "text-embedding-3-small": ("openai", 2e-08, 1536), "text-embedding-3-large": ("openai", 1.3e-07, 3072),
    "text-embedding-ada-002": ("openai", 1e-07, 1536), "azure/text-embedding-3-small": ("azure", 2.2e-08, None),
    "azure/text-embedding-3-large": ("azure", 1.43e-07, None), "cohere/embed-v4.0": ("cohere", 1.2e-07, 1536),
    "embed-multilingual-light-v3.0": ("cohere", 1e-04, None), "gemini/gemini-embedding-001": ("gemini", 1.5e-07, 3072),
    "mistral/mistral-embed": ("mistral", 1e-07, None), "voyage/voyage-3.5": ("voyage", 6e-08, None),
    "fireworks_ai/thenlper/gte-large": ("fireworks_ai-embedding-models", 1.6e-08, None),
    "doubao-embedding": ("volcengine", 0.0, 2560),
    "github_copilot/text-embedding-3-small": ("github_copilot", None, None),
}  # fmt: skip
_TEXT: dict[str, tuple[str, float, float]] = {
    "gpt-4o-mini": ("openai", 1.5e-07, 6e-07), "ollama/llama3.2": ("ollama", 0.0, 0.0),
    "vercel_ai_gateway/mistral/mistral-embed": ("vercel_ai_gateway", 1e-07, 0.0),
}  # fmt: skip


def price_list() -> dict[str, Any]:
    """Return the list without further errors."""
    entries: dict[str, Any] = {
        "sample_spec": {
            "input_cost_per_token": "the price in US dollars of one token",
            "litellm_provider": "one of the supported providers",
            "max_input_tokens": "the maximum number of input tokens, if the provider states it",
            "mode": "one of: chat, embedding, completion, image_generation",
        },
        "fallback_generalizations": {"rules": []},
        "dall-e-3": {"litellm_provider": "openai", "mode": "image_generation", "output_cost_per_image": 0.04},
        "nameless": {"input_cost_per_token": 1e-06},
    }
    for name, (provider, price, dimensions) in _EMBEDDING.items():
        entries[name] = {"litellm_provider": provider, "mode": "embedding", "max_input_tokens": 8191}
        if price is not None:
            entries[name] |= {"input_cost_per_token": price, "output_cost_per_token": 0.0}
        if dimensions is not None:
            entries[name]["output_vector_size"] = float(dimensions)
    for name, (provider, paid_in, paid_out) in _TEXT.items():
        prices = {"input_cost_per_token": paid_in, "output_cost_per_token": paid_out}
        entries[name] = {"litellm_provider": provider, "mode": "chat", "max_input_tokens": 128_000, **prices}
    return entries


class PriceListService(StandIn):
    """One file over a state's ``prices``."""

    name = "prices"

    def __init__(self, state: SimulatorState) -> None:
        super().__init__(state, [Operation("GET", PRICES_FILE, self._file)])
        self._state = state

    def error(self, status: int) -> Response:
        """Return an error of this status as GitHub words it."""
        return PlainTextResponse(f"{status}: {'Not Found' if status == 404 else 'Error'}", status)

    def _file(self, request: Request) -> Response:
        # GitHub serves every file as plain text.
        return PlainTextResponse(encode_json(self._state.prices))
