"""Plan who sees which published library: what changes in users' policies and settings on the media server.

Policies and settings are the server's own objects, changed in place of a copy: fields that are not known here go back
as they came.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from aperture_dagster.model import counted, listed
from aperture_dagster.publishing.placed import LibraryList, PlacedLibrary

MOST_NAMES = 12
# What was hidden in a user's settings; see the table published_access.
SettingKind = Literal["view", "latest"]
Setting = tuple[str, str, str]
HIDDEN_IN: dict[SettingKind, str] = {"view": "MyMediaExcludes", "latest": "LatestItemsExcludes"}


@dataclass(frozen=True, slots=True)
class AccessRules:
    """How libraries are kept from others.

    Args:
        strict: whether users who may see all libraries get a list.
        hide_own_from_latest: whether all published libraries of a user stay out of the home screen (Latest, Continue
            Watching, Next Up), because the server shows what was watched on both copies. *Shows You Watch* does in any
            case: it holds what these rows offer from the originals.
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
    name: str = ""
    list_key: str = ""

    @property
    def is_watched(self) -> bool:
        """Whether it holds what its user is watching."""
        return self.list_key.startswith("shows_you_watch/")


@dataclass(slots=True)
class Libraries:
    """What decides about access.

    Args:
        own: all published libraries.
        others: names of all other libraries on the server, by their ids in policies.
        retired: names of published libraries that are gone, by their ids in either form.
        hidden: what was hidden before in the settings of all users.
        lists: the lists of libraries that users were given before, by user id.
    """

    own: list[OwnLibrary] = field(default_factory=list)
    others: dict[str, str] = field(default_factory=dict)
    retired: dict[str, str] = field(default_factory=dict)
    hidden: Collection[Setting] = ()
    lists: Mapping[str, LibraryList] = field(default_factory=dict)


@dataclass(slots=True)
class AccessChange:
    """What changes for one user; None: nothing.

    ``noted``: settings to remember. ``forgotten``: settings no longer needed. ``given`` is the list of libraries that
    the user has from us afterwards, if any, and ``is_new_list`` whether only now. ``about`` says what changes in the
    policy, without the name.
    """

    user_id: str
    name: str
    given: LibraryList | None
    is_new_list: bool = False
    about: str | None = None
    policy: dict[str, Any] | None = None
    configuration: dict[str, Any] | None = None
    noted: list[Setting] = field(default_factory=list)
    forgotten: list[Setting] = field(default_factory=list)
    warning: str | None = None


def plan_access(user: Mapping[str, Any], libraries: Libraries, rules: AccessRules) -> AccessChange:
    """Compare a user's policy and settings with who may see what.

    A user with a list of libraries gets exactly the published ones that are theirs. If the rules are ``strict``, a user
    who may see all libraries gets a list of what they see now instead, and later also the operator's new libraries,
    unless the operator has taken one off the list: then it stays as the operator made it. Else, such a user gets the
    others' hidden from views, Latest and Resume, once: what they show again themselves stays.

    Args:
        user: the server's object.
        libraries: what there is, and what was set before.
        rules: how libraries are kept from others.
    """
    own, others, retired = libraries.own, libraries.others, libraries.retired
    user_id, name = str(user["Id"]), str(user.get("Name") or user["Id"])
    policy, configuration = copy.deepcopy(user["Policy"]), copy.deepcopy(user.get("Configuration") or {})
    theirs = [library for library in own if _key(user_id) in {_key(viewer) for viewer in library.viewers}]
    foreign = [library for library in own if library not in theirs]
    # So that one sentence holds for all users who are alike.
    in_order = sorted(theirs, key=lambda one: len(one.viewers) == 1)
    labels = {one.policy_id: "their own" if len(one.viewers) == 1 else one.name for one in in_order}
    given = libraries.lists.get(user_id)
    sees_all, enabled = bool(policy.get("EnableAllFolders")), list(policy.get("EnabledFolders") or [])
    if given is not None and not sees_all and _is_shortened(given, enabled, others):
        given = None
    change = AccessChange(user_id, name, given)
    if policy.get("BlockedMediaFolders"):
        change.warning = (
            f"{name} has a list of blocked libraries from an older version of the server, which overrides every other "
            "rule: save the user's access once in the server's dashboard."
        )
    if sees_all and rules.strict and foreign:
        ours = {_key(library.policy_id) for library in own} | {_key(one) for one in retired}
        before = tuple(one for one in enabled if _key(one) not in ours)
        change.given, change.is_new_list = LibraryList(user_id, before, tuple(others)), True
        policy["EnableAllFolders"] = False
        policy["EnabledFolders"] = [*others, *(library.policy_id for library in theirs)]
        change.about = (
            f"a list in place of all libraries, with {_named([*others.values(), *labels.values()])}. Libraries that "
            "you add are put on it."
        )
    elif given is not None and (sees_all or not rules.strict or not own):
        # Somebody gave all libraries back, the stricter form was switched off, or nothing is published.
        policy["EnableAllFolders"], policy["EnabledFolders"] = True, list(given.before)
        change.given = None
        if not sees_all:
            change.about = "all libraries again."
    elif not sees_all:
        new = _not_offered(given, others) if given is not None else {}
        change.given = given and LibraryList(user_id, given.before, (*given.offered, *new))
        policy["EnabledFolders"] = _enabled(policy, own, theirs, retired, list(new))
        names = {**others, **{library.policy_id: library.name for library in own}, **labels, **retired}
        change.about = _difference(enabled, policy["EnabledFolders"], names)
    if policy != user["Policy"]:
        change.policy = policy
    hide: list[tuple[OwnLibrary, SettingKind]] = []
    if policy.get("EnableAllFolders"):
        hide.extend((library, kind) for library in foreign for kind in HIDDEN_IN)
    hide.extend((library, "latest") for library in theirs if rules.hide_own_from_latest or library.is_watched)
    _plan_settings(change, configuration, hide, retired, libraries.hidden)
    if configuration != (user.get("Configuration") or {}):
        change.configuration = configuration
    return change


def has_new_libraries(lists: Iterable[LibraryList], others: Mapping[str, str]) -> bool:
    """Tell whether a library of the operator is missing from a list that a user was given."""
    return any(_not_offered(given, others) for given in lists)


def _not_offered(given: LibraryList, others: Mapping[str, str]) -> dict[str, str]:
    """Return the libraries that have never been on the list that a user was given."""
    known = {_key(one) for one in given.offered}
    return {one: label for one, label in others.items() if _key(one) not in known}


def _is_shortened(given: LibraryList, enabled: Collection[str], others: Collection[str]) -> bool:
    """Tell whether the operator took a library off the list that a user was given."""
    offered = {_key(one) for one in given.offered} & {_key(other) for other in others}
    return not offered <= {_key(one) for one in enabled}


def _named(names: Iterable[str]) -> str:
    names = list(dict.fromkeys(names))
    return listed(names) if len(names) <= MOST_NAMES else counted(len(names), "libraries")


def _difference(before: Collection[str], after: Collection[str], names: Mapping[str, str]) -> str | None:
    """Say what is put on a user's list of libraries, and what is taken off it; ``names`` are those of all libraries."""
    old, new = ({_key(one) for one in ids} for ids in (before, after))
    added = [label for one, label in names.items() if _key(one) in new - old]
    removed = [label for one, label in names.items() if _key(one) in old - new]
    parts = [f"{_named(added)} added to the list of libraries"] if added else []
    parts += [f"{_named(removed)} taken off the list of libraries"] if removed else []
    return f"{', '.join(parts)}." if parts else None


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
