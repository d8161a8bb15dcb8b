"""Who sees which published library: what changes in users' policies and settings on the media server.

Policies and settings are the server's own objects, changed in place of a copy: fields that are not known here go back
as they came.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from aperture_dagster.publishing.manifest import PlacedLibrary

# What was set in a user's settings; see the table published_access.
SettingKind = Literal["view", "latest", "listed"]
Setting = tuple[str, str, str]
HIDDEN_IN: dict[SettingKind, str] = {"view": "MyMediaExcludes", "latest": "LatestItemsExcludes"}
ALL_LIBRARIES = ""


@dataclass(frozen=True, slots=True)
class AccessRules:
    """How libraries are kept from others.

    Args:
        strict: whether users who may see all libraries get a list.
        hide_own_from_latest: whether a user's own published library stays out of Latest and Resume, too, because the
            server shows what was watched on both copies.
        viewers_of: the users who may see a library that is not published in this run.
    """

    strict: bool
    hide_own_from_latest: bool
    viewers_of: Callable[[PlacedLibrary], frozenset[str]]


@dataclass(frozen=True, slots=True)
class OwnLibrary:
    """A published library on the server. ``policy_id`` is its id in policies, ``item_id`` that in settings."""

    item_id: str
    policy_id: str
    viewers: frozenset[str]


@dataclass(slots=True)
class AccessChange:
    """What changes for one user; None: nothing. ``noted`` and ``forgotten`` are settings to remember, or no more."""

    user_id: str
    name: str
    policy: dict[str, Any] | None = None
    configuration: dict[str, Any] | None = None
    noted: list[Setting] = field(default_factory=list)
    forgotten: list[Setting] = field(default_factory=list)
    warning: str | None = None


def plan_access(
    user: Mapping[str, Any],
    own: Sequence[OwnLibrary],
    *,
    others: Sequence[str],
    retired: Collection[str],
    remembered: Collection[Setting],
    rules: AccessRules,
) -> AccessChange:
    """Compare a user's policy and settings with who may see what.

    A user with a list of libraries gets exactly the published ones that are theirs. A user who may see all libraries
    gets the others' hidden from views, Latest and Resume, once: what they show again themselves stays. If the rules
    are ``strict``, such a user gets a list of what they see now instead, and later also the operator's new libraries.

    Args:
        user: the server's object.
        own: all published libraries.
        others: policy ids of all other libraries on the server.
        retired: ids of published libraries that are gone, in either form.
        remembered: what was set before, of all users.
        rules: how libraries are kept from others.
    """
    user_id, name = str(user["Id"]), str(user.get("Name") or user["Id"])
    change = AccessChange(user_id, name)
    policy, configuration = copy.deepcopy(user["Policy"]), copy.deepcopy(user.get("Configuration") or {})
    theirs = [library for library in own if _key(user_id) in {_key(one) for one in library.viewers}]
    foreign = [library for library in own if library not in theirs]
    was_listed = (user_id, ALL_LIBRARIES, "listed") in remembered
    if policy.get("BlockedMediaFolders"):
        change.warning = (
            f"{name} has a list of blocked libraries from an older version of the server, which overrides every other "
            "rule: save the user's access once in the server's dashboard."
        )
    if policy.get("EnableAllFolders") and rules.strict and foreign:
        policy["EnableAllFolders"] = False
        policy["EnabledFolders"] = [*others, *(library.policy_id for library in theirs)]
        change.noted.append((user_id, ALL_LIBRARIES, "listed"))
    elif was_listed and (policy.get("EnableAllFolders") or not rules.strict or not own):
        # Somebody gave all libraries back, the stricter form was switched off, or nothing is published.
        policy["EnableAllFolders"], policy["EnabledFolders"] = True, []
        change.forgotten.append((user_id, ALL_LIBRARIES, "listed"))
    elif not policy.get("EnableAllFolders"):
        policy["EnabledFolders"] = _enabled(policy, own, theirs, retired, others if was_listed else ())
    if policy != user["Policy"]:
        change.policy = policy
    hide: list[tuple[OwnLibrary, SettingKind]] = []
    if policy.get("EnableAllFolders"):
        hide.extend((library, kind) for library in foreign for kind in HIDDEN_IN)
    if rules.hide_own_from_latest:
        hide.extend((library, "latest") for library in theirs)
    _plan_settings(change, configuration, hide, retired, remembered)
    if configuration != (user.get("Configuration") or {}):
        change.configuration = configuration
    return change


def _enabled(
    policy: Mapping[str, Any],
    own: Sequence[OwnLibrary],
    theirs: Sequence[OwnLibrary],
    retired: Collection[str],
    added: Sequence[str],
) -> list[str]:
    """A user's list of libraries: the others as they are, in their order, then the published ones that are theirs."""
    current = list(policy.get("EnabledFolders") or [])
    not_theirs = {_key(library.policy_id) for library in own} - {_key(library.policy_id) for library in theirs}
    not_theirs |= {_key(one) for one in retired}
    kept = [one for one in current if _key(one) not in not_theirs]
    known = {_key(one) for one in kept}
    return kept + [one for one in (*added, *(each.policy_id for each in theirs)) if _key(one) not in known]


def _plan_settings(
    change: AccessChange,
    configuration: dict[str, Any],
    hide: Sequence[tuple[OwnLibrary, SettingKind]],
    retired: Collection[str],
    remembered: Collection[Setting],
) -> None:
    """Change the lists of hidden libraries; only ids of published libraries are touched."""
    gone = {_key(one) for one in retired}
    wanted = {(_key(library.item_id), kind): library.item_id for library, kind in hide}
    ours = {(item_id, kind) for user_id, item_id, kind in remembered if user_id == change.user_id and item_id}
    for kind, field_name in HIDDEN_IN.items():
        current = list(configuration.get(field_name) or [])
        # What we hid and the user may see now, such as their own library after a change of owner.
        unhide = {item_id for item_id, set_kind in ours if set_kind == kind and (_key(item_id), kind) not in wanted}
        dropped = gone | {_key(item_id) for item_id in unhide}
        kept = [one for one in current if _key(one) not in dropped]
        there = {_key(one) for one in kept}
        remembered_here = {_key(item_id) for item_id, set_kind in ours if set_kind == kind}
        for (key, wanted_kind), item_id in wanted.items():
            if wanted_kind == kind and key not in remembered_here:
                change.noted.append((change.user_id, item_id, kind))
                if key not in there:
                    kept.append(item_id)
        change.forgotten += [(change.user_id, item_id, kind) for item_id in sorted(unhide)]
        if kept != current:
            configuration[field_name] = kept


def _key(identity: str) -> str:
    """Compare ids as the servers do: with or without dashes."""
    return identity.replace("-", "").lower()
