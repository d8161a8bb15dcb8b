"""Measure whether the built-in embedder is as good as wordllama, whose vectors were trained for the purpose.

    python benchmarks/embedders.py [--data ../shared/data] [--texts 50000]

wordllama (256 dimensions) was the default before, and is compiled: it has no wheels for Linux on ARM, for musl, or for
Python 3.14. On the same films, in the same run:

- Franchise recall: films of one franchise are found by their titles (Toy Story, Toy Story 2). Of the others of a
  film's franchise, the share among its ten nearest films, by the product's text and centred as in the ranking.
- NDCG@10 of the recommendations (released protocol, plays only: see ``recommendation_quality.py``).
- CPU and peak memory of embedding that many texts, in a process each.

Fails when recall or NDCG is below 98 % of wordllama's, or when CPU or memory is above it.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from recommendation_quality import ALL, ALONE, DATA, HOUSEHOLDS, load, measure
from verdict import Verdict, not_applicable, peak_memory

from aperture_dagster.taste.embedder import StaticEmbedder, unit_length
from aperture_dagster.taste.movielens import read_films
from aperture_dagster.taste.ranking.evaluation import World
from aperture_dagster.taste.ranking.library import library_of
from aperture_dagster.taste.ranking.taste import centre
from aperture_dagster.taste.ranking.text import title_text

AS_GOOD = 0.98
NEAREST = 10
LARGEST_FRANCHISE = 12

Embed = Callable[[Sequence[str]], NDArray[np.float32]]


def wordllama() -> Embed:
    """Return wordllama's model, from its package. Raises ImportError if it is not installed."""
    import wordllama  # pyright: ignore[reportMissingImports]

    folder = Path(wordllama.__file__).parent
    model: Any = wordllama.WordLlama.load(dim=256, cache_dir=folder, disable_download=True)
    return lambda texts: unit_length(model.embed(list(texts)))


def static() -> Embed:
    """Return the built-in model."""
    model = StaticEmbedder()
    return lambda texts: model.embed(texts).vectors


MODELS: dict[str, Callable[[], Embed]] = {"wordllama": wordllama, "static": static}


def franchises(titles: Sequence[str]) -> list[list[int]]:
    """Return the rows of films whose titles are equal up to a number, a part or a subtitle."""
    found: dict[str, list[int]] = {}
    for row, title in enumerate(titles):
        name = re.sub(r"\(.*?\)", "", title).strip()
        name = re.sub(r"^(.*), (The|A|An)$", r"\2 \1", name)
        name = re.split(r":| - | Part | I{2,3}\b| IV\b| V\b| \d", name)[0].strip().lower()
        found.setdefault(re.sub(r"^(the|a|an) ", "", name), []).append(row)
    return [rows for name, rows in found.items() if 1 < len(rows) <= LARGEST_FRANCHISE and len(name) > 3]


def franchise_recall(vectors: NDArray[np.float32], groups: Sequence[Sequence[int]]) -> float:
    """Return the mean share of a film's franchise among its nearest films, 0-1."""
    centred = centre(vectors)
    found: list[float] = []
    for rows in groups:
        near = centred[list(rows)] @ centred.T
        near[np.arange(len(rows)), rows] = -np.inf
        nearest = np.argpartition(-near, NEAREST, axis=1)[:, :NEAREST]
        found += [len(set(rows) & set(one.tolist())) / min(NEAREST, len(rows) - 1) for one in nearest]
    return float(np.mean(found))


def cost(name: str, data: Path, count: int) -> tuple[float, float]:
    """Return CPU seconds and peak memory (MB) of a process that loads a model and embeds ``count`` texts."""
    command = [sys.executable, __file__, "--data", str(data), "--texts", str(count), "--inside", name]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    seconds, memory = done.stdout.split()[-2:]
    return float(seconds), float(memory)


def embed_inside(name: str, texts: Sequence[str], count: int) -> None:
    """Embed texts, repeated to ``count``, as a run does it, 500 at a time; print CPU seconds and peak memory (MB)."""
    before = time.process_time()
    embed = MODELS[name]()
    for start in range(0, count, 500):
        embed([texts[place % len(texts)] for place in range(start, min(start + 500, count))])
    print(time.process_time() - before, peak_memory())


def qualities(world: World, vectors: NDArray[np.float32]) -> dict[str, float]:
    """Return franchise recall, and NDCG@10 of the settings of the ranking's benchmark."""
    found = {"franchise recall": franchise_recall(vectors, franchises(world.items["title"].tolist()))}
    ranked = replace(world, library=library_of(world.items, vectors))
    for setting in (ALL, HOUSEHOLDS, ALONE):
        found[f"NDCG@10, {setting.name}"] = measure(ranked, setting, ratings=False).ndcg
    return found


def main() -> int:
    """Run the benchmark, print its figures, and return 0 if the built-in embedder is as good."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=DATA, help="folder with movies.jsonl.gz and ratings.csv.gz")
    parser.add_argument("--texts", type=int, default=50_000, help="number of texts for CPU and memory")
    parser.add_argument("--inside", choices=list(MODELS), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if not (options.data / "ratings.csv.gz").exists():
        not_applicable(f"there is no data in {options.data}")
    texts = [title_text(row) for row in read_films(options.data).to_dict("records")]
    if options.inside:
        embed_inside(options.inside, texts, options.texts)
        return 0
    try:
        reference = wordllama()
    except ImportError:
        not_applicable("wordllama, the reference, is not installed (it has no wheel for this machine)")
    theirs, ours = (np.asarray(embed(texts)) for embed in (reference, static()))
    world = load(options.data, theirs)
    verdict = Verdict()
    print(f"{'':42} {'wordllama':>10} {'static':>10} {'ratio':>6}")
    for (name, their), our in zip(qualities(world, theirs).items(), qualities(world, ours).values(), strict=True):
        print(f"{name:42} {their:>10.4f} {our:>10.4f} {our / their:>6.3f}", flush=True)
        verdict.least(f"{name}, ratio", our / their, AS_GOOD)
    costs = [cost(name, options.data, options.texts) for name in MODELS]
    for name, their, our in zip(("CPU, s", "peak memory, MB"), *costs, strict=True):
        label = f"{options.texts} texts: {name}"
        print(f"{label:42} {their:>10.1f} {our:>10.1f} {our / their:>6.3f}", flush=True)
        verdict.most(f"{label}, ratio", our / their, 1.0)
    return verdict.close()


if __name__ == "__main__":
    sys.exit(main())
