"""What turns texts into vectors, and the local models."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from aperture_dagster.http import errors

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import ArrayLike
from aperture_dagster.taste.static_vectors import DIMENSIONS, StaticVectors

FASTEMBED_MODEL = "BAAI/bge-small-en-v1.5"
"""The model of fastembed, if the settings name no other."""
# Part of the key of the vectors. Change it with the file of the vectors or the rules by which words are split.
STATIC_MODEL = "static-minilm-1"


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


def unit_length(vectors: ArrayLike) -> np.ndarray:
    """Scale ``vectors`` (n, d) to length 1, as float32; a zero vector stays zero."""
    import numpy as np

    vectors = np.asarray(vectors, dtype=np.float32)
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    return (vectors / np.where(norms > 0, norms, 1)).astype(np.float32)
