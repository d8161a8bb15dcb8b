"""Measure what the search finds, how long that takes with 50,000 titles, and how much memory.

    python benchmarks/find.py [--data ../shared/data] [--set tuning|final|like|none] [--german] [--titles 50000]

``find_questions.json`` has sixty questions with the titles that somebody who knows films would accept. Thirty served to
tune the weights, thirty were kept for the end. Whoever tunes anew has to write new ones for the end. Ten more, of the
set ``like``, name a title and how others should differ from it; they served to tune just that. With ``--german``, the
questions of a set are asked in German, as far as they have been translated. For each method
this prints the mean nDCG@10 over a set: names alone, BM25 alone, and everything.
The library of the second part is the same films several times over, with other names.
"""

from __future__ import annotations

import argparse
import gzip
import json
import math
import resource
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from verdict import Verdict, not_applicable, peak_memory

from aperture_dagster.search.index import Index, build_index
from aperture_dagster.search.matches import find_matches, match_names
from aperture_dagster.search.titles import TitleRow
from aperture_dagster.search.words import STOP_WORDS, words_of

DATA = Path(__file__).resolve().parents[1].parent / "shared" / "data"
QUESTIONS = Path(__file__).with_name("find_questions.json")
FIRST = 10
MOST_MILLISECONDS, MOST_MEGABYTES = 100.0, 600.0
LEAST_GAIN = 1.3
"""How much better than BM25 alone everything together has to be."""


def main() -> int:
    """Run the benchmark, print the results, and return 0 if all limits were kept."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=DATA, help="folder of movies.jsonl.gz")
    parser.add_argument("--set", choices=("tuning", "final", "like", "none"), default="tuning", help="which questions")
    parser.add_argument("--german", action="store_true", help="ask in German what has been translated")
    parser.add_argument("--titles", type=int, default=50_000, help="size of the library for time and memory; 0: skip")
    parser.add_argument("--show", action="store_true", help="print what each question finds")
    options = parser.parse_args()
    if not (options.data / "movies.jsonl.gz").is_file():
        not_applicable(f"there is no movies.jsonl.gz in {options.data}")
    verdict = Verdict()
    films = read_films(options.data / "movies.jsonl.gz")
    if options.set != "none":
        judge_questions(verdict, films, options.set, german=options.german, show=options.show)
    if options.titles:
        judge_size(verdict, films, options.titles)
    return verdict.close()


def read_films(path: Path) -> list[dict[str, Any]]:
    """Read the films."""
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def as_title(film: dict[str, Any], work: int, mark: str = "") -> TitleRow:
    """Return a film as the search knows it; ``mark`` makes another film of it."""
    return TitleRow(
        work_id=work,
        media_type="movie",
        title=(film["tmdb_title"] or film["title"]) + mark,
        year=int(film["year"]) if film["year"] else None,
        names=[film["title"] + mark],
        cast=[person + mark for person in film["cast"]],
        makers=[film["director"] + mark] if film["director"] else [],
        genres=film["genres"],
        keywords=film["keywords"],
        tagline=film["tagline"],
        overview=film["overview"],
        countries=[],
        language=film["language"],
        minutes=int(film["runtime"]) if film["runtime"] else None,
        rated=None,
        vote_average=film["vote_average"],
        vote_count=int(film["vote_count"]) if film["vote_count"] else None,
        is_owned=True,
    )


def ndcg(found: Sequence[int], accepted: set[int]) -> float:
    """Return the nDCG of the first titles; all that are accepted are worth the same."""
    gain = sum(1 / math.log2(place + 2) for place, title in enumerate(found[:FIRST]) if title in accepted)
    return gain / sum(1 / math.log2(place + 2) for place in range(min(FIRST, len(accepted))))


def names_alone(index: Index, text: str) -> list[int]:
    """Return what is found by names."""
    return [match.row for match in match_names(index, text)]


def bm25_alone(index: Index, text: str) -> list[int]:
    """Return what is found by all words of a question, none of which is a filter."""
    scores = index.texts.bm25({word: 1.0 for word in words_of(text) if word not in STOP_WORDS})
    return [int(row) for row in np.argsort(-scores, kind="stable")[: FIRST * 2] if scores[row] > 0]


def everything(index: Index, text: str) -> list[int]:
    """Return what the page shows, to a member without a history."""
    return [match.row for match in find_matches(index, text)]


METHODS: dict[str, Callable[[Index, str], list[int]]] = {
    "names alone": names_alone, "BM25 alone": bm25_alone, "everything": everything,
}  # fmt: skip


def judge_questions(verdict: Verdict, films: list[dict[str, Any]], chosen: str, *, german: bool, show: bool) -> None:
    """Print and judge the nDCG of a set of questions."""
    index = build_index([as_title(film, film["movieId"]) for film in films])
    asked = json.loads(QUESTIONS.read_text(encoding="utf-8"))
    questions = [question for question in asked if question["set"] == chosen]
    if german:
        questions = [{**question, "question": question["german"]} for question in questions if "german" in question]
    values: dict[str, list[float]] = {name: [] for name in METHODS}
    for question in questions:
        accepted = {index.rows[int(film)] for film in question["titles"]}
        results = {name: method(index, question["question"]) for name, method in METHODS.items()}
        for name, found in results.items():
            values[name].append(ndcg(found, accepted))
        figures = "  ".join(f"{values[name][-1]:.2f}" for name in METHODS)
        print(f"{figures}  {question['question']}")
        if show:
            for row in results["everything"][:FIRST]:
                film = films[row]
                print(
                    f"        {'+' if row in accepted else ' '} {film['tmdb_title'] or film['title']} ({film['year']})"
                )
    means = {name: float(np.mean(own)) for name, own in values.items()}
    for name, mean in means.items():
        print(f"{mean:.3f}  nDCG@{FIRST} of {len(questions)} questions ({chosen}), {name}")
    gain = means["everything"] / max(means["BM25 alone"], 1e-9)
    verdict.least(f"nDCG@{FIRST} ({chosen}), times that of BM25 alone", gain, LEAST_GAIN)


def many(films: list[dict[str, Any]], size: int) -> Iterator[TitleRow]:
    """Yield so many films."""
    for number in range(size):
        film, copy = films[number % len(films)], number // len(films)
        yield as_title(film, number, f" {chr(0x61 + copy) * 3}" if copy else "")


def judge_size(verdict: Verdict, films: list[dict[str, Any]], size: int) -> None:
    """Print and judge time and memory for a library of a size."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_utime
    base = memory_now()
    index = build_index(many(films, size))
    print(f"{resource.getrusage(resource.RUSAGE_SELF).ru_utime - before:.1f} s of CPU to index {size:,} titles")
    print(f"{memory_now() - base:.0f} MB that the index keeps")
    liked = {int(work): 1.0 for work in index.work_ids[::97]}
    questions = [question["question"] for question in json.loads(QUESTIONS.read_text(encoding="utf-8"))]
    taken: list[float] = []
    for question in questions * 2:
        # On a machine that does other things as well, the time on the clock is theirs, too.
        start = time.thread_time()
        find_matches(index, question, liked)
        taken.append(1000 * (time.thread_time() - start))
    for share in (0.5, 0.95, 1.0):
        print(f"{np.quantile(taken, share):.0f} ms of CPU for a question, {share:.0%} of them at most")
    verdict.most(
        f"CPU of 95 % of questions to {size:,} titles", float(np.quantile(taken, 0.95)), MOST_MILLISECONDS, " ms"
    )
    verdict.most("peak memory, with building the index", peak_memory(), MOST_MEGABYTES, " MB")


def memory_now() -> float:
    """Return the memory of this process in MB."""
    status = Path("/proc/self/status")
    text = status.read_text(encoding="ascii") if status.exists() else "VmRSS: 0"
    return float(text.split("VmRSS:")[1].split()[0]) / 1e3


if __name__ == "__main__":
    sys.exit(main())
