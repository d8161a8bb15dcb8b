"""Which items a user sees.

Modelled on jellyfin/jellyfin, ``MediaBrowser.Controller/Entities/``, 10.9 to 12: ``BaseItem.cs``
(``IsParentalAllowed``, ``IsVisibleViaTags``, ``GetInheritedTags``), ``CollectionFolder.cs``, ``Movies/BoxSet.cs`` and
``../Playlists/Playlist.cs`` (``IsVisible``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from aperture_dagster.simulator.catalogue import Item
from aperture_dagster.simulator.user_data import ServerUser

Predicate = Callable[[Item], bool]


def visible_to(user: ServerUser) -> Predicate:
    """Return a predicate for the items that a user's policy allows.

    It checks library, folder, minimum age and tags; those of a series apply to its seasons and episodes, too. A box
    set is visible if the library of any member is, whether or not the library of box sets is; a playlist to its owner,
    or if it is shared or public.
    """
    policy, limit = user.policy, user.facts.max_parental_rating
    excluded = tuple(f"{location}/" for location in policy.excluded_locations)
    allowed = allowed_to(user)

    def visible(item: Item) -> bool:
        if item.kind == "Playlist":
            return item.ownership is None or item.ownership.allows(user.id)
        if item.kind == "BoxSet":
            members = [member.item for member in item.members if member.item.present]
            seen = [member for member in members if policy.allows_library(member.library)]
            return allowed(item) and (
                not members or (bool(seen) and any(_suits_age(member, limit) for member in members))
            )
        if not policy.allows_library(item.library):
            return False
        if excluded and f"{(item.series or item).folder}/".startswith(excluded):
            return False
        return allowed(item)

    return visible


def allowed_to(user: ServerUser) -> Predicate:
    """Return a predicate for the items whose age and tags a user's policy allows, in whichever library they are."""
    policy, limit = user.policy, user.facts.max_parental_rating
    blocked, required = lower_case(policy.blocked_tags), lower_case(policy.allowed_tags)

    def allowed(item: Item) -> bool:
        if blocked or required:
            tags = lower_case(item.tags)
            if blocked & tags or (required and not required & tags):
                return False
        return _suits_age(item, limit)

    return allowed


def _suits_age(item: Item, limit: int | None) -> bool:
    if limit is None:
        return True
    age = item.rating_age
    return age is None or age <= limit


def is_limited(user: ServerUser) -> bool:
    """Return whether a user's policy restricts anything."""
    policy = user.policy
    return (
        not policy.enable_all_folders
        or user.facts.max_parental_rating is not None
        or bool(policy.blocked_tags or policy.allowed_tags or policy.excluded_locations)
    )


def lower_case(names: Iterable[str]) -> set[str]:
    """Return names in lower case."""
    return {name.lower() for name in names}
