"""Stand-ins for servers of AI models: an OpenAI-compatible endpoint, and the lists of models of local servers."""

from __future__ import annotations

import math
import re
from collections import Counter
from functools import lru_cache
from typing import Any

from starlette.responses import Response

from aperture_dagster.simulator.catalogue import stable_number
from aperture_dagster.simulator.responses import JSONResponse
from aperture_dagster.simulator.service import Operation, Request, StandIn, Unmodelled
from aperture_dagster.simulator.state import SimulatorState

# A stand-in for an OpenAI-compatible embeddings endpoint.
#
# Vectors are hashed bags of words of unit length. The same text gives the same vector, and texts that share words are
# close to each other.
#
# Modelled are OpenAI's errors as in openai/openai-openapi, and
#
# - a content filter: 400 with the code ``content_filter`` for the whole request, as from Azure's endpoint;
# - models of Ollama 0.13.5 and later: 400 for a text that exceeds their context (ollama/ollama issue 14186).


_MAX_INPUTS = 2048
_MAX_TOKENS_EACH = 8192
_MAX_TOKENS = 300_000
# Models with a shorter context, which fail as Ollama's do.
_CONTEXTS = {"nomic-embed-text": 2048, "mxbai-embed-large": 512}
_CHARACTERS_PER_TOKEN = 4
_PLACES_PER_WORD = 4
_WORD = re.compile(r"\w+")


class EmbeddingsService(StandIn):
    """Embeddings over a state's settings."""

    name = "openai"

    def __init__(self, state: SimulatorState) -> None:
        super().__init__(
            state, [Operation("POST", "/embeddings", self._embeddings), Operation("GET", "/models", self._models)]
        )
        self._settings = state.settings

    def refuse(self, request: Request, operation: Operation | None) -> Response | None:
        """Refuse requests without the key, if one is set."""
        key = self._settings.openai_key
        if not key or request.headers.get("authorization") == f"Bearer {key}":
            return None
        return self.error(401)

    def error(self, status: int) -> Response:
        """Return an error of this status in OpenAI's form."""
        if status == 429:
            return _refused(429, "Rate limit reached for requests.", "rate_limit_exceeded", error_type="requests")
        if status == 401:
            return _refused(401, "Incorrect API key provided.", "invalid_api_key")
        return _refused(
            status, "The server had an error while processing your request.", None, error_type="server_error"
        )

    def _models(self, request: Request) -> Response:
        models = [
            {"id": name, "object": "model", "created": 0, "owned_by": "stand-in"}
            for name in self._settings.embedding_models
        ]
        return JSONResponse({"object": "list", "data": models})

    def _embeddings(self, request: Request) -> Response:
        body = request.parse_json()
        if unknown := body.keys() - {"model", "input", "encoding_format"}:
            raise Unmodelled(f"{', '.join(sorted(unknown))} in the body")
        model = body.get("model")
        length = self._settings.embedding_models.get(model) if isinstance(model, str) else None
        if not isinstance(model, str) or length is None:
            return _refused(404, f"The model `{model}` does not exist.", "model_not_found", "model")
        texts = _texts(body.get("input"))
        problem = self._problem(model, texts)
        if problem is not None or texts is None:
            return _refused(400, problem or "'$.input' is invalid.", None, "input")
        if any(word in text for word in self._settings.embedding_refused_words for text in texts):
            return _refused(400, "The response was filtered by the content management policy.", "content_filter")
        if body.get("encoding_format", "float") != "float":
            raise Unmodelled(f"encoding_format={body['encoding_format']}")
        used = sum(token_count(text) for text in texts)
        data = [
            {"object": "embedding", "index": place, "embedding": embed(text, length)}
            for place, text in enumerate(texts)
        ]
        content = {
            "object": "list",
            "data": data,
            "model": model,
            "usage": {"prompt_tokens": used, "total_tokens": used},
        }
        return JSONResponse(content)

    @staticmethod
    def _problem(model: str, texts: list[str] | None) -> str | None:
        if not texts or any(not text for text in texts):
            return "'$.input' is invalid: it must hold at least one text, and none may be empty."
        if len(texts) > _MAX_INPUTS:
            return f"'$.input' is too long: at most {_MAX_INPUTS} inputs."
        counts = [token_count(text) for text in texts]
        context = _CONTEXTS.get(model)
        if context is not None and max(counts) > context:
            return "the input length exceeds the context length"
        if max(counts) > _MAX_TOKENS_EACH:
            return f"This model's maximum context length is {_MAX_TOKENS_EACH} tokens."
        if sum(counts) > _MAX_TOKENS:
            return f"Requested {sum(counts)} tokens, max {_MAX_TOKENS} tokens per request."
        return None


def token_count(text: str) -> int:
    """Estimate the tokens of a text: one per four characters of English, one per character of most other scripts."""
    foreign = sum(character > "\u02ff" for character in text)
    return foreign - (foreign - len(text)) // _CHARACTERS_PER_TOKEN


def embed(text: str, length: int) -> list[float]:
    """Return the unit vector of a text."""
    vector = [0.0] * length
    for word, count in Counter(_WORD.findall(text.lower())).items():
        weight = 1.0 + math.log(count)
        for place, sign in _places(word, length):
            vector[place] += sign * weight
    norm = math.sqrt(sum(value * value for value in vector))
    if norm == 0.0:
        # A text without words still gets a unit vector.
        vector[stable_number(text) % length] = norm = 1.0
    return [value / norm for value in vector]


@lru_cache(maxsize=65_536)
def _places(word: str, length: int) -> tuple[tuple[int, float], ...]:
    places = []
    for number in range(_PLACES_PER_WORD):
        hashed = stable_number(f"{word}|{number}")
        places.append(((hashed >> 1) % length, 1.0 if hashed & 1 else -1.0))
    return tuple(places)


def _texts(given: Any) -> list[str] | None:
    """Return the texts of an input; None if the input is invalid."""
    if isinstance(given, str):
        return [given]
    if not isinstance(given, list):
        return None
    if any(not isinstance(part, str) for part in given):
        raise Unmodelled("tokens instead of texts")
    return given


def _refused(
    status: int, message: str, code: str | None, parameter: str | None = None, error_type: str = "invalid_request_error"
) -> Response:
    return JSONResponse({"error": {"message": message, "type": error_type, "param": parameter, "code": code}}, status)


# Stand-ins for the lists of models of local model servers; their embeddings are those of the OpenAI stand-in.
#
# Modelled are Ollama's ``/api/tags`` as in its documentation, with models of its cloud beside local ones, and LM
# Studio, which answers an unknown path with status 200 and an error.


class OllamaService(StandIn):
    """Ollama's models over a state's settings."""

    name = "ollama"

    def __init__(self, state: SimulatorState) -> None:
        super().__init__(state, [Operation("GET", "/api/tags", self._tags)])

    def error(self, status: int) -> Response:
        """Return an error of this status in Ollama's form."""
        return JSONResponse({"error": "internal server error"}, status)

    def _tags(self, request: Request) -> Response:
        models = []
        for name in self._state.settings.ollama_models:
            entry = {"name": name, "model": name, "size": 274_302_450}
            if name.endswith("cloud"):
                entry |= {"remote_host": "https://ollama.com:443", "remote_model": name.removesuffix("-cloud")}
            models.append(entry)
        return JSONResponse({"models": models})


class LmStudioService(StandIn):
    """LM Studio, which has downloaded two models."""

    name = "lm_studio"

    def __init__(self, state: SimulatorState) -> None:
        super().__init__(state, [Operation("GET", "/v1/models", self._models)])

    def error(self, status: int) -> Response:
        """Return an error of this status in LM Studio's form."""
        return JSONResponse({"error": "Internal error"}, status)

    def unknown(self, request: Request) -> Response:
        """Answer an unknown path."""
        return JSONResponse({"error": f"Unexpected endpoint or method. ({request.method} {request.path})"})

    def _models(self, request: Request) -> Response:
        names = ("text-embedding-nomic-embed-text-v1.5", "qwen/qwen3-4b")
        models = [{"id": name, "object": "model", "owned_by": "organization_owner"} for name in names]
        return JSONResponse({"object": "list", "data": models})
