"""Turn texts into vectors, with a local model or with any endpoint that speaks OpenAI's protocol."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

from aperture_dagster.http import errors
from aperture_dagster.http.client import ServiceClient
from aperture_dagster.http.errors import redact
from aperture_dagster.http.messages import Answer, as_object, expect, one_line
from aperture_dagster.taste.static_vectors import DIMENSIONS, StaticVectors

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import ArrayLike

    from aperture_dagster.settings import Settings

ENDPOINT = "The embeddings endpoint"
# Part of the key of the vectors. Change it with the file of the vectors or the rules by which words are split.
STATIC_MODEL = "static-minilm-1"
# The longest text in tokens, by a part of the model's name, the most specific first; endpoints refuse longer texts.
# OpenAI: platform.openai.com/docs/guides/embeddings. The others as served by Ollama: ollama.com/library.
MODEL_TOKENS = {
    "text-embedding-3": 8191, "text-embedding-ada": 8191, "nomic-embed": 2048, "mxbai-embed": 512, "all-minilm": 256,
    "snowflake-arctic-embed2": 8192, "snowflake-arctic-embed": 512, "embeddinggemma": 2048, "granite-embedding": 512,
    "bge-m3": 8192, "bge-large": 512, "qwen3-embedding": 8192, "jina-embeddings-v2": 8192,
}  # fmt: skip
# For other models; few accept less.
USUAL_TOKENS = 512
# Texts in a request: an answer with as many vectors of 3,000 dimensions has some 4 MB.
BATCH = 64
# Titles have about 120 tokens, so more is never needed.
MOST_TOKENS = 2000
SHORTEST_TEXT = 100
# After so many texts refused one by one and none accepted, the texts are not the reason.
REFUSALS_THAT_MEAN_ALL = 8
_TOO_LONG = re.compile(r"context length|maximum context|input length|too long|too many tokens", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Embedding:
    """Vectors of texts: float32, (texts, dimensions), of length 1; zero for a text that is ``refused``.

    ``refused`` holds the endpoint's reasons, by position.
    """

    vectors: np.ndarray
    refused: Mapping[int, str] = field(default_factory=dict)


class Embedder(ABC):
    """Texts in, vectors out.

    ``name``, made from the model and the dimensions, is part of the key of its vectors, so that those of two models
    never mix.
    """

    def __init__(self, model: str, dimensions: int | None = None) -> None:
        self._model_name, self._dimensions = model, dimensions

    @property
    def name(self) -> str:
        """Provider, model and dimensions, such as ``static-minilm-1-320``."""
        return f"{self._model_name}-{self.dimensions}"

    @property
    def dimensions(self) -> int:
        """Length of a vector; unless it is known, a word is embedded to find out."""
        if self._dimensions is None:
            self._dimensions = unit_length(self._vectors(["probe"])).shape[1]
        return self._dimensions

    @property
    def requests(self) -> int:
        """Requests sent so far; 0 for a local model."""
        return 0

    def embed(self, texts: Sequence[str]) -> Embedding:
        """Embed texts; those that are refused cost only themselves."""
        return Embedding(unit_length(self._vectors(texts)))

    @abstractmethod
    def _vectors(self, texts: Sequence[str]) -> ArrayLike:
        """Return the vectors of texts, (texts, dimensions), of any length."""


class StaticEmbedder(Embedder):
    """Static vectors of tokens that ship with this package: no key, no download, no compiled library."""

    def __init__(self) -> None:
        super().__init__(STATIC_MODEL, DIMENSIONS)
        self._model: StaticVectors | None = None

    def _vectors(self, texts: Sequence[str]) -> ArrayLike:
        # Loaded at first use, which takes about a tenth of a second.
        if self._model is None:
            self._model = StaticVectors()
        return self._model.embed(texts)


class FastEmbedEmbedder(Embedder):
    """A local transformer through ``fastembed``, which downloads the model once."""

    def __init__(self, model: str, cache_directory: str) -> None:
        super().__init__(f"fastembed-{model}")
        try:
            from fastembed import TextEmbedding  # pyright: ignore[reportMissingImports]
        except ImportError:
            raise errors.ServiceNotConfigured(
                "APERTURE_EMBEDDER is fastembed, which is not installed: pip install 'aperture-dagster[transformer]'."
            ) from None
        self._model = TextEmbedding(model, cache_dir=cache_directory)

    def _vectors(self, texts: Sequence[str]) -> ArrayLike:
        # The model truncates long texts itself.
        return list(self._model.embed(list(texts)))


class OpenAiEmbedder(Embedder):
    """Any OpenAI-compatible endpoint: OpenAI, Ollama, LM Studio. ``options`` are those of the transport.

    The name of its vectors holds no address: another address returns the same vectors.
    """

    def __init__(self, url: str, api_key: str | None, *, model: str, **options: Any) -> None:
        super().__init__(f"openai-{model}")
        self.client = ServiceClient(
            ENDPOINT,
            url,
            headers={"Authorization": f"Bearer {api_key}"} if api_key else None,
            inspect=partial(inspect_credit, api_key or ""),
            timeout_seconds=120,
            secrets=[api_key or ""],
            setting="OPENAI_API_KEY",
            address_setting="APERTURE_EMBEDDER_URL",
            **options,
        )
        self._model = model
        self._tokens = tokens_of(model)

    @property
    def requests(self) -> int:
        """Requests sent so far."""
        return self.client.requests

    def embed(self, texts: Sequence[str]) -> Embedding:
        """Embed texts, ``BATCH`` in a request. A refused batch is halved until the offending texts are isolated.

        Raises:
            BadAnswer: a vector is missing or of another length than the rest.
            RequestRejected: every text is refused.
            ServiceUnavailable, ServiceRefused, NotFound: see :class:`Transport`.
        """
        import numpy as np

        found: dict[int, np.ndarray] = {}
        refused: dict[int, str] = {}
        cut = [truncate(text, self._tokens) for text in texts]
        batches = deque(range(start, min(start + BATCH, len(cut))) for start in range(0, len(cut), BATCH))
        while batches:
            places = batches.popleft()
            try:
                found.update(zip(places, self._vectors([cut[place] for place in places]), strict=True))
            except errors.Redirected:
                raise
            except errors.RequestRejected as error:
                middle = len(places) // 2
                if middle:
                    batches.extendleft((places[middle:], places[:middle]))
                elif _TOO_LONG.search(str(error)) and len(cut[places[0]]) > SHORTEST_TEXT:
                    cut[places[0]] = cut[places[0]][: len(cut[places[0]]) // 2]
                    batches.appendleft(places)
                else:
                    refused[places[0]] = str(error)
                    if not found and len(refused) >= REFUSALS_THAT_MEAN_ALL:
                        raise
        vectors = np.zeros((len(cut), self.dimensions), dtype=np.float32)
        for place, vector in found.items():
            vectors[place] = vector
        return Embedding(unit_length(vectors), refused)

    def _vectors(self, texts: Sequence[str]) -> np.ndarray:
        import numpy as np

        # Servers refuse an empty text; not all of them support base64, which some clients request.
        body = {"model": self._model, "input": [text or " " for text in texts], "encoding_format": "float"}
        try:
            answer = self.client.transport.post_json("/embeddings", body, repeatable=True)
        except errors.NotFound as error:
            raise errors.NotFound(
                f"{error}. Check APERTURE_EMBEDDER_URL, which mostly ends in /v1, and APERTURE_EMBEDDER_MODEL."
            ) from None
        data = expect(expect(answer, dict, f"{ENDPOINT}'s answer").get("data"), list, f"{ENDPOINT}'s answer: data")
        if len(data) != len(texts):
            raise errors.BadAnswer(f"{ENDPOINT} returned {len(data)} vectors for {len(texts)} texts.")
        try:
            rows = {entry["index"]: entry["embedding"] for entry in data}
            # In the order of the texts, whatever the order of the answer.
            vectors = np.asarray([rows[place] for place in range(len(texts))], dtype=np.float32)
        except (KeyError, TypeError, ValueError):
            raise errors.BadAnswer(f"{ENDPOINT}'s vectors cannot be parsed.") from None
        if vectors.ndim != 2 or not vectors.shape[1] or not np.isfinite(vectors).all():
            raise errors.BadAnswer(f"{ENDPOINT}'s vectors differ in length or are not numbers.")
        if self._dimensions is not None and vectors.shape[1] != self._dimensions:
            raise errors.BadAnswer(f"{ENDPOINT} changed its vectors' length to {vectors.shape[1]}.")
        self._dimensions = vectors.shape[1]
        return vectors


def tokens_of(model: str) -> int:
    """Return how many tokens a text for a model may have."""
    name = model.lower()
    return min(next((most for part, most in MODEL_TOKENS.items() if part in name), USUAL_TOKENS), MOST_TOKENS)


def truncate(text: str, tokens: int) -> str:
    """Truncate a text to at most so many tokens, by a safe estimate.

    English has four to five characters a token, other scripts up to two tokens a character.
    """
    if len(text) * 2 <= tokens:
        return text
    used = 0.0
    for place, character in enumerate(text):
        used += 1 / 3 if character.isascii() else 2
        if used > tokens:
            return text[:place]
    return text


def inspect_credit(api_key: str, answer: Answer) -> None:
    """Raise if an account has no credit, which 429 may also mean, and where no retry helps; see :class:`Transport`."""
    if answer.status not in (402, 429):
        return
    error = as_object(answer.fields().get("error"))
    if answer.status == 402 or "insufficient_quota" in (error.get("code"), error.get("type")):
        message = redact(one_line(error.get("message")) or "", [api_key])[:160]
        quoted = f" ({message})" if message else ""
        raise errors.ServiceRefused(
            f"{ENDPOINT}: the account has no credit left{quoted}. Add credit there, or choose a local model with "
            "APERTURE_EMBEDDER. What was embedded is kept."
        )


def unit_length(vectors: ArrayLike) -> np.ndarray:
    """Scale ``vectors`` (n, d) to length 1, as float32; a zero vector stays zero."""
    import numpy as np

    vectors = np.asarray(vectors, dtype=np.float32)
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    return (vectors / np.where(norms > 0, norms, 1)).astype(np.float32)


def make_embedder(settings: Settings) -> Embedder:
    """Make the embedder of the settings. Raises ServiceNotConfigured if its package is not installed."""
    key = settings.embedder_api_key
    if settings.embedder == "fastembed":
        model = settings.embedder_model or "BAAI/bge-small-en-v1.5"
        return FastEmbedEmbedder(model, str(settings.home_path / "models"))
    if settings.embedder == "openai":
        return OpenAiEmbedder(
            settings.embedder_url,
            key.get_secret_value() if key else None,
            model=settings.embedder_model or "text-embedding-3-small",
            attempts=settings.http_attempts,
            first_wait_seconds=settings.http_retry_wait_seconds,
        )
    return StaticEmbedder()
