"""Trakt's JSON: what it returns, and the bodies of writes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from aperture_dagster.simulator.service import Unmodelled, refuse_other_fields
from aperture_dagster.simulator.trakt.book import (
    ID_NAMES,
    RATED,
    Account,
    Rated,
    Rating,
    TitleBook,
    TraktTitle,
    timestamp,
    whole_seconds,
)

_SINGULAR = {"movies": "movie", "shows": "show"}
_ACTIVITIES: dict[str, tuple[str, ...]] = {
    "movies": ("watched_at", "collected_at", "rated_at", "watchlisted_at"),
    "episodes": ("watched_at", "collected_at", "rated_at", "watchlisted_at"),
    "shows": ("rated_at", "watchlisted_at"),
    "seasons": ("rated_at", "watchlisted_at"),
    "account": ("settings_at", "followed_at"),
}


def settings_of(account: Account) -> dict[str, Any]:
    """Return ``/users/settings``, which has no e-mail address."""
    return {
        "user": {
            "username": account.name,
            "private": False,
            "name": account.name,
            "vip": account.vip,
            "ids": {"slug": account.name.lower(), "trakt": account.number, "uuid": f"{account.number:032x}"},
            "joined_at": timestamp(account.joined_at),
        },
        "account": {"timezone": "Europe/Berlin", "date_format": "dmy", "time_24hr": True},
    }


def activities_of(account: Account) -> dict[str, Any]:
    """Return ``/sync/last_activities``: only ratings ever change."""
    content: dict[str, Any] = {"all": timestamp(max([account.joined_at, *account.changed_at.values()]))}
    for part, names in _ACTIVITIES.items():
        content[part] = dict.fromkeys(names, timestamp(account.joined_at))
        if "rated_at" in names:
            content[part]["rated_at"] = timestamp(account.changed_at.get(part, account.joined_at))
    return content


def rating_row(rated: Rated, rating: Rating, known: TraktTitle) -> dict[str, Any]:
    """Return the rating of a film or show."""
    singular = _SINGULAR[rated.kind]
    row = {"rated_at": timestamp(rating.rated_at), "rating": rating.value, "type": singular}
    return row | {singular: known.summary()}


def recommended(known: TraktTitle) -> dict[str, Any]:
    """Return a recommendation."""
    return known.summary() | {"favorited_by": [], "recommended_by": None}


_TEXT_IDS = ("slug", "imdb")


@dataclass(slots=True)
class Batch:
    """The entries of a write: what they are for with their rating (None when removed), and those without a match."""

    found: list[tuple[Rated, Rating | None]] = field(default_factory=list)
    not_found: dict[str, list[dict[str, Any]]] = field(default_factory=lambda: {kind: [] for kind in RATED})


def parse_batch(body: object, titles: TitleBook, now: float, *, removes: bool) -> Batch:
    """Parse a body. Raises Unmodelled for what breaks the contract."""
    assert isinstance(body, dict)
    refuse_other_fields(body, ID_NAMES, "a write of ratings")
    batch = Batch()
    for kind in ID_NAMES:
        for entry in body.get(kind) or ():
            _parse_entry(batch, kind, entry, titles, now, removes)
    return batch


def _parse_entry(batch: Batch, kind: str, entry: dict[str, Any], titles: TitleBook, now: float, removes: bool) -> None:
    refuse_other_fields(entry, ("ids",) if removes else ("ids", "rating", "rated_at"), f"an entry of {kind}")
    known = titles.find(kind, _ids(kind, entry))
    rating = None if removes else _rating(entry, now)
    if known is None:
        batch.not_found[kind].append(entry)
    else:
        batch.found.append((Rated(kind, known.key), rating))


def _ids(kind: str, entry: dict[str, Any]) -> dict[str, Any]:
    refuse_other_fields(entry["ids"], ID_NAMES[kind], f"ids of {kind}")
    given = {name: value for name, value in entry["ids"].items() if value is not None}
    if not given or any(type(value) is not (str if name in _TEXT_IDS else int) for name, value in given.items()):
        raise Unmodelled(f"an entry of {kind} with the ids {given}")
    return given


def _rating(entry: dict[str, Any], now: float) -> Rating:
    value = entry.get("rating")
    if type(value) is not int or not 1 <= value <= 10:
        raise Unmodelled(f"the rating {value!r}")
    return Rating(value, whole_seconds(entry.get("rated_at"), now))
