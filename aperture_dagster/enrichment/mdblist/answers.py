"""Parse MDBList's answers: batches of titles, and pages of lists."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any, Generic, Literal, TypeVar

from aperture_dagster.enrichment.listed import ListedTitle, ListPage
from aperture_dagster.http import errors
from aperture_dagster.http.messages import as_object, expect, objects, one_line, unique
from aperture_dagster.media_server.records import MediaType

Provider = Literal["imdb", "tmdb"]
Id = TypeVar("Id", bound=int | str)
LARGEST_COUNT = 2**31 - 1
LIST_PARTS: dict[MediaType, str] = {"movie": "movies", "series": "shows"}
LETTERBOXD = "letterboxd"
_NUMBER = re.compile(r"[0-9]{1,16}(?:\.[0-9]{1,16})?")
# The sources in ``ratings[]``, with the column that they fill and the best value on their scale.
SCALES: dict[str, tuple[str, float]] = {
    "imdb": ("imdb_rating", 10),
    "trakt": ("trakt", 100),
    "letterboxd": (LETTERBOXD, 5),
    "tomatoes": ("rotten_tomatoes", 100),
    "popcorn": ("rotten_tomatoes_audience", 100),
    "tomatoesaudience": ("rotten_tomatoes_audience", 100),
    "audience": ("rotten_tomatoes_audience", 100),
    "metacritic": ("metacritic", 100),
}


@dataclass(slots=True)
class MdbListAnswer(Generic[Id]):
    """The columns of ``mdblist_scores`` of each title in a batch, without the work.

    MDBList does not know an id that is in neither ``found`` nor ``unreadable``, provided that ``doubtful`` is 0: an
    entry without an id, or with one that was not requested, may belong to any of them.
    """

    found: dict[Id, dict[str, Any]] = field(default_factory=dict)
    unreadable: dict[Id, str] = field(default_factory=dict)
    doubtful: int = 0


def parse_titles(answer: Any, provider: Provider, requested: dict[str, Id]) -> MdbListAnswer[Id]:
    """Parse the answer for a batch; ``requested`` holds the ids by their text. Raises BadAnswer unless it is a list."""
    result: MdbListAnswer[Id] = MdbListAnswer()
    for entry in expect(answer, list, "MDBList's answer"):
        one = requested.get(_id_of(entry, provider))
        if one is None:
            result.doubtful += 1
        elif one not in result.found:
            try:
                result.found[one] = parse_title(entry)
                result.unreadable.pop(one, None)
            except errors.BadAnswer as error:
                result.unreadable[one] = str(error)
    return result


def parse_list(answer: Any, media_type: MediaType, *, end: int) -> ListPage:
    """Parse a page of a list that ends before the entry ``end``.

    Raises:
        BadAnswer: it is not one.
    """
    answer = expect(answer, dict, "MDBList's list")
    part = LIST_PARTS[media_type]
    titles = []
    for entry in objects(expect(answer.get(part), list, f"MDBList's list: {part}")):
        ids = as_object(entry.get("ids"))
        tmdb_id = _whole(ids.get("tmdb"), LARGEST_COUNT) or _whole(entry.get("id"), LARGEST_COUNT)
        imdb_id = one_line(ids.get("imdb")) or one_line(entry.get("imdb_id"))
        if tmdb_id is not None or imdb_id is not None:
            titles.append(ListedTitle(tmdb_id, imdb_id))
    pagination = as_object(answer.get("pagination"))
    has_more, total = pagination.get("has_more"), _whole(pagination.get("total"), LARGEST_COUNT)
    # Of a page that says neither, everything was requested at once.
    return ListPage(tuple(titles), has_more if isinstance(has_more, bool) else total is not None and total > end)


def parse_title(entry: Any) -> dict[str, Any]:
    """Parse an entry of a batch: the columns of ``mdblist_scores``, each score on its own site's scale.

    Raises:
        BadAnswer: it is not an object, or a list in it is something else.
    """
    entry = expect(entry, dict, "the entry")
    scores: dict[str, float | None] = {name: None for name, _ in SCALES.values()}
    imdb_votes = None
    for rating in _list(entry, "ratings"):
        source = str(rating.get("source")).strip().lower()
        if source not in SCALES:
            continue
        name, best = SCALES[source]
        if scores[name] is None:
            scores[name] = _letterboxd(rating) if source == LETTERBOXD else _on_scale(rating.get("value"), best)
        if source == "imdb":
            imdb_votes = _whole(rating.get("votes"), LARGEST_COUNT)
    lists = ("keywords", "streams")
    return {
        "score": _whole(entry.get("score"), 100),
        **scores,
        "imdb_votes": imdb_votes,
        **{name: unique(one_line(one.get("name")) for one in _list(entry, name)) for name in lists},
        "certification": one_line(entry.get("certification")),
    }


def _letterboxd(rating: dict[str, Any]) -> float | None:
    """Return the rating out of 5. ``value`` is out of 10 in batches and out of 5 elsewhere; ``score`` is out of 100."""
    score = _on_scale(rating.get("score"), 100)
    return None if score is None else round(score / 20, 2)


def _id_of(entry: Any, provider: Provider) -> str:
    found = as_object(as_object(entry).get("ids")).get(provider)
    return str(found).strip() if isinstance(found, (int, str)) else ""


def _list(entry: dict[str, Any], name: str) -> list[dict[str, Any]]:
    value = entry.get(name)
    return [] if value is None else objects(expect(value, list, name))


def _on_scale(value: Any, best: float) -> float | None:
    """Parse a number or its text, above 0 and at most ``best``, to four decimals; 0 means unknown."""
    if isinstance(value, str) and _NUMBER.fullmatch(value.strip()):
        value = float(value)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value <= best:
        return None
    return round(float(value), 4) or None


def _whole(value: Any, most: int) -> int | None:
    found = _on_scale(value, most)
    return round(found) or None if found is not None else None
