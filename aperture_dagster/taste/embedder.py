"""Turn texts into vectors, with a local model or with any endpoint that speaks OpenAI's protocol."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache, partial
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aperture_dagster.http import errors
from aperture_dagster.http.client import ServiceClient
from aperture_dagster.http.errors import redact
from aperture_dagster.http.messages import Answer, as_object, expect, one_line
from aperture_dagster.settings import Settings

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import ArrayLike

# Vectors of texts from static vectors of tokens, in a file of this package: no compiled library, no network.
#
# The vector of a text is the sum of those of its words. A word is split into pieces as in BERT (WordPiece). Words that
# the vocabulary lacks, in whatever script, get a vector of signs from their hash, which is similar to nothing else.
# Words of several pieces get one as well, because most of them are names. ``tools/distill_vectors.py`` makes the file.


FILE = Path(__file__).with_name("static_vectors.npz")
"""``packed`` (tokens, dimensions / 2) has two values a byte, each plus 8, ``scales`` (tokens,) their factors, and
``words`` the vocabulary.
"""
DIMENSIONS = 320
# Texts at a time: enough for many words to recur, few enough for some 30 MB.
TEXTS_AT_ONCE = 500
CACHED_WORDS = 100_000
# Longer ones are not words.
LONGEST_WORD = 100
NAME_WEIGHT = 0.5
# Ideographs are words by themselves.
_IDEOGRAPHS = r"\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0002fa1f"
_WORDS = re.compile(rf"[{_IDEOGRAPHS}]|[^\W_{_IDEOGRAPHS}]+|[^\w\s]|_")


class StaticVectors:
    """The file's vectors, in memory as in the file (5 MB)."""

    def __init__(self, file: Path = FILE) -> None:
        import numpy as np

        with np.load(file) as stored:
            self._packed, self._scales = stored["packed"], stored["scales"]
            words = stored["words"].tobytes().decode()
        self._rows = {word: row for row, word in enumerate(words.split("\n"))}
        self._pieces = lru_cache(CACHED_WORDS)(self._split)

    def embed(self, texts: Sequence[str]) -> np.ndarray:
        """Return the sum of the words' vectors of each text, (texts, dimensions), float32; zero without words."""
        import numpy as np

        found = np.zeros((len(texts), DIMENSIONS), dtype=np.float32)
        for start in range(0, len(texts), TEXTS_AT_ONCE):
            batch = [words_of(text) for text in texts[start : start + TEXTS_AT_ONCE]]
            column = {word: number for number, word in enumerate(dict.fromkeys(chain.from_iterable(batch)))}
            if not column:
                continue
            vectors = self._vectors(list(column))
            for number, words in enumerate(batch, start):
                if words:
                    found[number] = vectors[[column[word] for word in words]].sum(axis=0)
        return found

    def _vectors(self, words: Sequence[str]) -> np.ndarray:
        """Return the vectors of words, (words, dimensions)."""
        import numpy as np

        split = [self._pieces(word) for word in words]
        found = np.zeros((len(words), DIMENSIONS), dtype=np.float32)
        known = np.array([number for number, rows in enumerate(split) for _ in rows], dtype=np.int64)
        rows = np.array(list(chain.from_iterable(split)), dtype=np.int64)
        values = np.empty((len(rows), DIMENSIONS), dtype=np.float32)
        values[:, 0::2] = (self._packed[rows] >> 4).astype(np.float32) - 8
        values[:, 1::2] = (self._packed[rows] & 15).astype(np.float32) - 8
        np.add.at(found, known, values * self._scales[rows, None])
        hashed = [number for number, rows in enumerate(split) if len(rows) != 1]
        for number in hashed:
            found[number] += self._signs(words[number]) * (NAME_WEIGHT if split[number] else 1.0)
        return found

    def _signs(self, word: str) -> np.ndarray:
        """Return the vector of length 1 of a word's hash."""
        import numpy as np

        digest = hashlib.shake_128(word.encode("utf-8", "surrogatepass")).digest(DIMENSIONS // 8)
        bits = np.unpackbits(np.frombuffer(digest, dtype=np.uint8)).astype(np.float32)
        return (bits * 2 - 1) / np.float32(np.sqrt(DIMENSIONS))

    def _split(self, word: str) -> tuple[int, ...]:
        """Return the rows of the longest pieces of a word, from its start; none if there are not pieces for all of it.

        Pieces after the first begin with ``##``.
        """
        found: list[int] = []
        start = 0
        while start < len(word) <= LONGEST_WORD:
            mark = "##" if start else ""
            for end in range(len(word), start, -1):
                row = self._rows.get(mark + word[start:end])
                if row is not None:
                    found.append(row)
                    start = end
                    break
            else:
                return ()
        return tuple(found)


def words_of(text: str) -> list[str]:
    """Return the words of a text in lower case and without accents, and its punctuation."""
    text = text.lower()
    if not text.isascii():
        text = "".join(mark for mark in unicodedata.normalize("NFD", text) if unicodedata.category(mark) != "Mn")
    return _WORDS.findall(text)


FASTEMBED_MODEL = "BAAI/bge-small-en-v1.5"
"""The model of fastembed, if the settings name no other."""
ENDPOINT = "The embeddings endpoint"
# Part of the key of the vectors. Change it with the file of the vectors or the rules by which words are split.
STATIC_MODEL = "static-minilm-1"
# Tokens of a text at most; titles have about 120. A text that a model refuses as too long is halved.
MOST_TOKENS = 1000
# Texts in a request: an answer with as many vectors of 3,000 dimensions has some 4 MB.
BATCH = 64
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
        inspect = partial(inspect_credit, api_key or "")
        self.client = _endpoint_client(url, api_key, inspect=inspect, timeout_seconds=120, **options)
        self._model = model

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
        cut = [truncate(text) for text in texts]
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


def _endpoint_client(url: str, api_key: str | None, **options: Any) -> ServiceClient:
    return ServiceClient(
        ENDPOINT,
        url,
        headers={"Authorization": f"Bearer {api_key}"} if api_key else None,
        secrets=[api_key or ""],
        setting="OPENAI_API_KEY",
        address_setting="APERTURE_EMBEDDER_URL",
        **options,
    )


def truncate(text: str, tokens: int = MOST_TOKENS) -> str:
    """Truncate a text to at most so many tokens, by a safe estimate; endpoints refuse longer texts.

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
        model = settings.embedder_model or FASTEMBED_MODEL
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


class Embedders:
    """The embedder of the settings, made once per process: a local model takes a moment to load."""

    def __init__(self, settings: Settings, make: Callable[[Settings], Embedder] = make_embedder) -> None:
        self._settings = settings
        self._make = make
        self._embedder: Embedder | None = None

    def get(self) -> Embedder:
        """Return the embedder. Raises ServiceNotConfigured if its package is not installed."""
        if self._embedder is None:
            self._embedder = self._make(self._settings)
        return self._embedder

    def connect(self, url: str) -> ServiceClient:
        """Return a client of the configured endpoint with its key, for requests below ``url``, an address there."""
        settings = self._settings
        key = settings.embedder_api_key
        return _endpoint_client(
            url,
            key.get_secret_value() if key is not None else None,
            attempts=settings.http_attempts,
            first_wait_seconds=settings.http_retry_wait_seconds,
        )
