"""Who turns texts into vectors: a local model, or any endpoint that speaks OpenAI's protocol.

Every embedder has a ``name`` that goes into the key of its vectors, so that vectors of two models never mix.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

from aperture_dagster.resources.errors import BadAnswer, NotFound, ServiceNotConfigured
from aperture_dagster.resources.transport import Transport, expect

if TYPE_CHECKING:
    import numpy as np

    from aperture_dagster.settings import Settings

WORDLLAMA_DIMENSIONS = 256
# About four characters a token; endpoints refuse what is longer than their context, commonly 8,192 or, for small
# local models, 512 tokens. Titles' texts are about 120 tokens, so this cuts only what is odd.
LONGEST_TEXT = 6000


class Embedder(Protocol):
    """Texts in, vectors out."""

    @property
    def name(self) -> str:
        """Provider, model and dimensions, such as ``wordllama-256``."""
        ...

    @property
    def dimensions(self) -> int:
        """Length of a vector."""
        ...

    @property
    def requests(self) -> int:
        """Requests sent so far; 0 for a local model."""
        ...

    def embed(self, texts: Sequence[str]) -> np.ndarray:
        """Vectors of ``texts``: float32, (len(texts), dimensions), of length 1."""
        ...


class WordLlamaEmbedder:
    """wordllama: static vectors that ship inside its package, so there is no key and no download."""

    requests = 0
    dimensions = WORDLLAMA_DIMENSIONS
    name = f"wordllama-{WORDLLAMA_DIMENSIONS}"

    def __init__(self) -> None:
        self._model: Any = None

    def embed(self, texts: Sequence[str]) -> np.ndarray:
        """Vectors of ``texts``; the model is loaded at first use (about half a second)."""
        import numpy as np

        if self._model is None:
            self._model = _load_wordllama()
        return unit_length(np.asarray(self._model.embed(list(texts)), dtype=np.float32))


def _load_wordllama() -> Any:
    from pathlib import Path

    import wordllama

    return wordllama.WordLlama.load(
        dim=WORDLLAMA_DIMENSIONS, cache_dir=Path(wordllama.__file__).parent, disable_download=True
    )


class FastEmbedEmbedder:
    """A local transformer through ``fastembed``, which downloads the model once to the machine."""

    requests = 0

    def __init__(self, model: str, cache_directory: str) -> None:
        try:
            from fastembed import TextEmbedding  # pyright: ignore[reportMissingImports]
        except ImportError:
            raise ServiceNotConfigured(
                "APERTURE_EMBEDDER is fastembed, which is not installed: pip install 'aperture-dagster[transformer]'."
            ) from None
        self._model = TextEmbedding(model, cache_dir=cache_directory)
        self._probe = self.embed(["probe"])
        self.name = f"fastembed-{model}-{self.dimensions}"

    @property
    def dimensions(self) -> int:
        """Length of a vector, learned from the model."""
        return self._probe.shape[1]

    def embed(self, texts: Sequence[str]) -> np.ndarray:
        """Vectors of ``texts``."""
        import numpy as np

        return unit_length(np.asarray(list(self._model.embed(list(texts))), dtype=np.float32))


class OpenAiEmbedder:
    """Any OpenAI-compatible endpoint: OpenAI, Ollama, LM Studio.

    Args:
        transport: to the endpoint's base address.
        model: its name there.
        batch_size: texts in one request.
    """

    def __init__(self, transport: Transport, *, model: str, batch_size: int = 64) -> None:
        self._http = transport
        self._model = model
        self._batch_size = batch_size
        self._dimensions: int | None = None

    @classmethod
    def connect(
        cls,
        url: str,
        api_key: str | None,
        *,
        model: str,
        batch_size: int,
        attempts: int = 5,
        first_wait_seconds: float = 0.5,
    ) -> OpenAiEmbedder:
        """A client for the endpoint at ``url``; local endpoints need no key."""
        transport = Transport(
            "The embeddings endpoint",
            url,
            headers={"Authorization": f"Bearer {api_key}"} if api_key else None,
            timeout_seconds=120,
            attempts=attempts,
            first_wait_seconds=first_wait_seconds,
            secrets=[api_key] if api_key else [],
            setting="OPENAI_API_KEY",
            address_setting="APERTURE_EMBEDDER_URL",
        )
        return cls(transport, model=model, batch_size=batch_size)

    @property
    def requests(self) -> int:
        """Requests sent so far."""
        return self._http.requests

    @property
    def dimensions(self) -> int:
        """Length of a vector; the first time, one word is sent to learn it."""
        return self._dimensions or self._ask(["probe"]).shape[1]

    @property
    def name(self) -> str:
        """Model and dimensions; the endpoint's address is left out, since moving it changes no vector."""
        return f"openai-{self._model}-{self.dimensions}"

    def embed(self, texts: Sequence[str]) -> np.ndarray:
        """Vectors of ``texts``.

        Raises:
            BadAnswer: a vector is missing or of another length than the rest.
            ServiceUnavailable, ServiceRefused, NotFound, RequestRejected: see :class:`Transport`.
        """
        import numpy as np

        parts = [self._ask(texts[start : start + self._batch_size]) for start in range(0, len(texts), self._batch_size)]
        return np.concatenate(parts) if parts else np.zeros((0, self.dimensions), dtype=np.float32)

    def _ask(self, texts: Sequence[str]) -> np.ndarray:
        import numpy as np

        # Servers refuse an empty text; base64, which some clients ask for, is not spoken by all of them.
        body = {
            "model": self._model,
            "input": [text[:LONGEST_TEXT] or " " for text in texts],
            "encoding_format": "float",
        }
        try:
            answer = expect(
                self._http.post_json("/embeddings", body, repeatable=True), dict, "The embeddings endpoint's answer"
            )
        except NotFound as error:
            raise NotFound(
                f"{error}. Check APERTURE_EMBEDDER_URL, which mostly ends in /v1, and APERTURE_EMBEDDER_MODEL."
            ) from None
        data = expect(answer.get("data"), list, "The embeddings endpoint's answer: data")
        if len(data) != len(texts):
            raise BadAnswer(f"The embeddings endpoint returned {len(data)} vectors for {len(texts)} texts.")
        try:
            rows = {entry["index"]: entry["embedding"] for entry in data}
            # In the order of the texts, whatever the order of the answer.
            vectors = np.asarray([rows[place] for place in range(len(texts))], dtype=np.float32)
        except (KeyError, TypeError, ValueError):
            raise BadAnswer("The embeddings endpoint's vectors cannot be read.") from None
        if vectors.ndim != 2 or not vectors.shape[1] or not np.isfinite(vectors).all():
            raise BadAnswer("The embeddings endpoint's vectors differ in length or are not numbers.")
        if self._dimensions is not None and vectors.shape[1] != self._dimensions:
            raise BadAnswer(f"The embeddings endpoint changed its vectors' length to {vectors.shape[1]}.")
        self._dimensions = vectors.shape[1]
        return unit_length(vectors)


def unit_length(vectors: np.ndarray) -> np.ndarray:
    """``vectors`` (n, d) scaled to length 1; a zero vector stays zero."""
    import numpy as np

    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    return (vectors / np.where(norms > 0, norms, 1)).astype(np.float32)


def make_embedder(settings: Settings) -> Embedder:
    """The embedder that the settings name.

    Raises:
        ServiceNotConfigured: its package is not installed.
    """
    key = settings.embedder_api_key
    if settings.embedder == "fastembed":
        model = settings.embedder_model or "BAAI/bge-small-en-v1.5"
        return FastEmbedEmbedder(model, str(settings.home_path / "models"))
    if settings.embedder == "openai":
        return OpenAiEmbedder.connect(
            settings.embedder_url,
            key.get_secret_value() if key else None,
            model=settings.embedder_model or "text-embedding-3-small",
            batch_size=settings.embedder_batch_size,
            attempts=settings.http_attempts,
            first_wait_seconds=settings.http_retry_wait_seconds,
        )
    return WordLlamaEmbedder()
