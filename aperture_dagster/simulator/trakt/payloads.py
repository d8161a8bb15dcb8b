"""Trakt's JSON for settings, activities, ratings and recommendations."""

from __future__ import annotations

from typing import Any

from aperture_dagster.simulator.trakt.accounts import Account, Rated, Rating, timestamp
from aperture_dagster.simulator.trakt.titles import TraktTitle

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
