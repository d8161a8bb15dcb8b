"""Titles, episodes and people by name, as the media server's own search finds them."""

from __future__ import annotations

import logging
import re
import unicodedata
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection

from aperture_dagster.catalogue.people import User
from aperture_dagster.catalogue.servers import open_accounts
from aperture_dagster.front_door.clients.answers import as_item
from aperture_dagster.front_door.clients.lists import items_of
from aperture_dagster.http.errors import ServiceError
from aperture_dagster.media_server.accounts import WrongAccount
from aperture_dagster.members.visible_titles import titles_in_sight
from aperture_dagster.postgres.queries import read_rows
from aperture_dagster.search.words import LONGEST_QUESTION
from aperture_dagster.settings import Settings

if TYPE_CHECKING:
    from aperture_dagster.search.index import Index

_LOG = logging.getLogger(__name__)
CATEGORIES = ("movies", "series", "episodes", "seasons", "audio", "actors", "directors", "writers")
"""Some are always empty: the media server finds nothing by the name of a season, and music is not read."""
MEDIA, PEOPLE = ("movies", "series", "episodes"), {"actors": "Actor", "directors": "Director", "writers": "Writer"}
MOST_CANDIDATES = 1_000
# Without accents and punctuation, as the media server compares names; most names have neither.
_PLAIN = r"""CASE WHEN {0} ~ '^[a-zA-Z0-9 ]*$' THEN lower({0}) ELSE trim(regexp_replace(regexp_replace(
    normalize(lower({0}), NFKD), '[\u0300-\u036f\u2019'']', '', 'g'), '[^[:alnum:]]+', ' ', 'g')) END"""
_RANK = "CASE WHEN plain = :q THEN 0 WHEN starts_with(plain, :q) THEN 1 WHEN plain LIKE :begun THEN 2 ELSE 3 END"
_TITLES = f"""
    SELECT work_id, min({_RANK}) AS place, min(length(plain)) AS length FROM (
      SELECT work_id, {_PLAIN.format("name")} AS plain FROM (
        SELECT work_id, title AS name FROM present_titles
        UNION ALL SELECT work_id, original_title FROM present_titles WHERE original_title <> title
        UNION ALL SELECT work_id, e.title FROM enriched_metadata e WHERE EXISTS (
          SELECT 1 FROM present_titles t WHERE t.work_id = e.work_id AND t.title <> e.title)) names
    ) plain WHERE plain LIKE :within GROUP BY work_id ORDER BY place, length, work_id LIMIT {MOST_CANDIDATES}"""
_EPISODES = f"""
    SELECT server_item_id, series_item_id, work_id, title, season, number, runtime_minutes, {_RANK} AS place FROM (
      SELECT *, {_PLAIN.format("title")} AS plain FROM present_episodes
    ) plain WHERE plain LIKE :within ORDER BY place, length(plain), series_item_id, season, number
    LIMIT {MOST_CANDIDATES}"""


def categories_of(asked: str) -> frozenset[str]:
    """Return what a type that a client asks for means; an unknown one means nothing."""
    groups = {
        "all": CATEGORIES,
        "media": MEDIA,
        "people": tuple(PEOPLE),
        "movie": ("movies",),
        "episode": ("episodes",),
    }
    known = groups | {name: (name,) for name in CATEGORIES}
    return frozenset(known.get(asked.strip().lower(), ()))


def plain_question(asked: str) -> str:
    """Return what was asked as names are compared: in lower case, without accents and punctuation."""
    decomposed = unicodedata.normalize("NFKD", asked.lower())
    bare = re.sub(r"[\u0300-\u036f\u2019']", "", decomposed)
    return re.sub(r"[\W_]+", " ", bare).strip()


def find_by_name(
    connection: Connection, user: User, asked: str, categories: Collection[str], limit: int, index: Index | None = None
) -> dict[str, list[dict[str, Any]]]:
    """Return the films, series and episodes of a name that a user may see, by category, the nearest names first.

    With an index, titles whose names were mistyped come after them.
    """
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in CATEGORIES}
    plain = plain_question(asked)
    if not plain:
        return found
    # No letter or digit has a meaning in a pattern.
    values = {"q": plain, "begun": f"% {plain}%", "within": f"%{plain}%"}
    if {"movies", "series"} & set(categories):
        named = [row["work_id"] for row in read_rows(connection, _TITLES, **values)]
        works = list(dict.fromkeys([*named, *(mistyped(index, asked) if index is not None else ())]))
        # Whoever looks for a title by name means it, also if it is on none of their lists.
        visible = titles_in_sight(connection, user, works, with_hidden=True)
        for category, media_type in (("movies", "movie"), ("series", "series")):
            titles = [visible[work] for work in works if work in visible and visible[work].media_type == media_type]
            if category in categories:
                found[category] = items_of(connection, titles[:limit])
    if "episodes" in categories:
        rows = read_rows(connection, _EPISODES, **values)
        series = titles_in_sight(connection, user, {row["work_id"] for row in rows}, with_hidden=True)
        # Those of the copy that the user sees.
        copies = {title.item_id for title in series.values()}
        shown = [row for row in rows if row["series_item_id"] in copies][:limit]
        ids = {item["id"]: item for item in items_of(connection, [series[row["work_id"]] for row in shown])}
        found["episodes"] = [_as_episode(row, ids[series[row["work_id"]].server_item_id]) for row in shown]
    return found


def mistyped(index: Index, asked: str) -> list[int]:
    """Return the works whose names somebody may have meant who mistyped one, the nearest first."""
    from aperture_dagster.search.matches import SURE, match_names

    # By whom a title is, or which episodes it has, is no name of it.
    matches = match_names(index, asked[:LONGEST_QUESTION], SURE)
    return [int(index.work_ids[match.row]) for match in matches if match.person is None and match.episode is None]


def find_people(
    settings: Settings, token: str, user_id: str, asked: str, categories: Collection[str], limit: int
) -> dict[str, list[dict[str, Any]]]:
    """Return the people of a name by category, as the media server finds them for the user of a token.

    Empty if it does not answer: a search for titles does not fail because of it.
    """
    kinds = {category: kind for category, kind in PEOPLE.items() if category in categories}
    found: dict[str, list[dict[str, Any]]] = {}
    if not kinds or not plain_question(asked):
        return found
    try:
        with open_accounts(settings) as server:
            for category, kind in kinds.items():
                people = server.people(token, user_id, asked.strip(), kind, limit)
                found[category] = [{"id": person, "name": name, "type": "Person"} for person, name in people]
    except (ServiceError, WrongAccount) as error:
        _LOG.warning("people cannot be looked up on the media server: %s", error)
    return found


def _as_episode(row: Mapping[str, Any], series: Mapping[str, Any]) -> dict[str, Any]:
    facts = {
        **row, "media_type": "series", "year": None, "genres": (), "community_rating": None, "picture_tag": None,
    }  # fmt: skip
    of_series = {"seriesId": series["id"], "seriesPrimaryImageTag": series["primaryImageTag"]}
    return {**as_item(facts), "type": "Episode", **of_series}
