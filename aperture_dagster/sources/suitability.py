"""What the settings and the users' policies keep from the suggestions of titles outside the library."""

from __future__ import annotations

from collections.abc import Collection
from datetime import date, datetime
from zoneinfo import ZoneInfo

from sqlalchemy import Connection

from aperture_dagster.library.access import clean_tags
from aperture_dagster.library.people import User
from aperture_dagster.library.suitability import HouseholdRules, UserRules, why_for_nobody, why_not_for_user
from aperture_dagster.settings import Settings
from aperture_dagster.sources.discovery_plan import user_languages
from aperture_dagster.storage.discovery import owned_under_any_id, settled_titles
from aperture_dagster.storage.suggestions import read_pool_facts


def household_rules(settings: Settings, today: date) -> HouseholdRules:
    """Return what the settings suggest to nobody."""
    return HouseholdRules(
        today=today,
        country=settings.country,
        certified_by=(settings.country, settings.fallback_country),
        only_available=settings.discovery_only_available,
        minimum_votes=settings.discovery_minimum_votes,
        excluded_genres=clean_tags(settings.discovery_exclude_genres),
    )


def user_rules(user: User, languages: frozenset[str]) -> UserRules:
    """Return what a user's policy on the media server, and their history, keep from them."""
    return UserRules(
        limit=user.max_parental_rating,
        languages=languages,
        blocked_tags=clean_tags(user.access.blocked_tags),
        allowed_tags=clean_tags(user.access.allowed_tags),
    )


def why_not_now(
    connection: Connection, settings: Settings, user: User, works: Collection[int], *, now: datetime
) -> dict[int, str]:
    """Return which suggestions of a user must not be acted on by now, and why; the others are left out.

    Lists are made at night; limits, tags, dismissals and the library may have changed since.
    """
    household = household_rules(settings, now.astimezone(ZoneInfo(settings.schedule_timezone)).date())
    rules = user_rules(user, user_languages(connection, [user.user_id], settings)[user.user_id][0])
    owned, settled = owned_under_any_id(connection), settled_titles(connection, [user.user_id])[user.user_id]
    facts = {one.work_id: one for one in read_pool_facts(connection, works)}
    reasons: dict[int, str] = {}
    for work_id in works:
        title = facts.get(work_id)
        reason = (
            "its details are not known"
            if title is None
            else ("in the library" if work_id in owned else None)
            or why_for_nobody(title, household)
            or ("watched, dismissed or requested" if work_id in settled else None)
            or why_not_for_user(title, rules, household.certified_by)
        )
        if reason is not None:
            reasons[work_id] = reason
    return reasons
