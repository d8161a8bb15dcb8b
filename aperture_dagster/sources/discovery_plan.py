"""What discovery reads for each user: seeds, traits of their taste, and the lists that follow from them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection

from aperture_dagster.library.discovery import (
    MEDIA_TYPES,
    MediaType,
    Trait,
    UserPlan,
    choose_seeds,
    distinctive_people,
    list_queries,
)
from aperture_dagster.library.listed import SuggestedTitle
from aperture_dagster.library.people import User
from aperture_dagster.library.suitability import languages_of
from aperture_dagster.settings import Settings
from aperture_dagster.storage.discovery import settled_ids
from aperture_dagster.storage.discovery_inputs import (
    first_pages,
    language_counts,
    library_sizes,
    liked_titles,
    people_in_library,
    people_of,
    profiles,
    trait_ids,
)


def user_languages(
    connection: Connection, user_ids: Sequence[str], settings: Settings
) -> dict[str, tuple[frozenset[str], list[str]]]:
    """Return by user the original languages that are suggested to them, and those in the order of their history."""
    counts = language_counts(connection, user_ids)
    found = {}
    for user_id, own in counts.items():
        accepted = languages_of(own, settings.discovery_other_languages)
        ordered = [language for language in own if language in accepted]
        found[user_id] = (accepted, [*ordered, *sorted(accepted - set(ordered))])
    return found


def plan_users(
    connection: Connection,
    users: Sequence[User],
    settings: Settings,
    trakt: Mapping[str, Mapping[MediaType, Sequence[SuggestedTitle]]],
) -> tuple[list[UserPlan], dict[int, list[int]]]:
    """Plan what is read for each user, to whom ``trakt`` recommends titles, by media type.

    Also return the first pages of the recommendations of their seeds, by work.
    """
    user_ids = [user.user_id for user in users]
    liked = liked_titles(connection, user_ids)
    seeds = {
        (user_id, media_type): choose_seeds(liked[user_id], media_type)
        for user_id in user_ids
        for media_type in MEDIA_TYPES
    }
    works = {one.work_id for chosen in seeds.values() for one in chosen}
    pages, people = first_pages(connection, works), people_of(connection, works)
    in_library, sizes = people_in_library(connection), library_sizes(connection)
    summaries = profiles(connection, user_ids)
    ids = {name: trait_ids(connection, name, _names(summaries, name)) for name in ("genres", "keywords")}
    languages = user_languages(connection, user_ids, settings)
    settled = settled_ids(connection, user_ids)
    plans = []
    for user_id in user_ids:
        accepted, ordered = languages[user_id]
        queries = []
        for media_type in MEDIA_TYPES:
            if not sizes.get(media_type):
                # Who has no series here does not look for any.
                continue
            own = seeds[user_id, media_type]
            traits = _traits(summaries.get((user_id, media_type), {}), ids, media_type)
            if media_type == "movie":
                traits += distinctive_people(own, people, in_library, sizes.get(media_type, 0))
            queries += list_queries(
                media_type, own, pages, traits, ordered, minimum_votes=settings.discovery_minimum_votes
            )
        plans.append(
            UserPlan(
                user_id,
                seeds=[one for media_type in MEDIA_TYPES for one in seeds[user_id, media_type]],
                queries=queries,
                trakt=trakt.get(user_id, {}),
                hidden=settled[user_id],
                languages=accepted,
            )
        )
    return plans, pages


def _names(summaries: Mapping[Any, Mapping[str, Any]], kind: str) -> set[str]:
    return {one["name"] for summary in summaries.values() for one in summary.get(kind, ())}


def _traits(
    summary: Mapping[str, Any], ids: Mapping[str, Mapping[tuple[str, str], int]], media_type: MediaType
) -> list[Trait]:
    """Return the genres and keywords of a taste that TMDb knows under the same name."""
    found = []
    for name, kind in (("genres", "genre"), ("keywords", "keyword")):
        for one in summary.get(name, ()):
            tmdb_id = ids[name].get((media_type, one["name"].lower()))
            if tmdb_id is not None:
                found.append(Trait("genre" if kind == "genre" else "keyword", one["name"], tmdb_id))
    return found
