"""Who sees which published library: what changes in users' policies and settings on the media server.

Policies and settings are the server's own objects, changed in place of a copy: fields that are not known here go back
as they came.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from aperture_dagster.model import counted, listed
from aperture_dagster.publishing.disk.paths import as_path
from aperture_dagster.publishing.placed import LibraryList, PlacedLibrary
from aperture_dagster.publishing.server.preflight import Places, by_place
from aperture_dagster.publishing.server.work import Session

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

    ``noted`` and ``forgotten`` are settings to remember, or no more. ``given`` is the list of libraries that the user
    has from us afterwards, if any, and ``is_new_list`` whether only now. ``about`` says what changes in the policy,
    without the name.
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
    theirs = [library for library in own if _key(user_id) in {_key(one) for one in library.viewers}]
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
    offered = {_key(one) for one in given.offered} & {_key(one) for one in others}
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


# Let exactly the right users see each published library, whatever somebody else changed meanwhile.


@dataclass(slots=True)
class Granted:
    """What was set: the ids of libraries that were recorded, by list key; and the errors of users that were refused.

    ``unprotected`` holds the ids of users who could not be kept from libraries of others, with the reason.
    """

    records: dict[str, PlacedLibrary] = field(default_factory=dict)
    refused: dict[str, Exception] = field(default_factory=dict)
    unprotected: dict[str, str] = field(default_factory=dict)


class Viewers:
    """Sets users' policies and settings.

    Args:
        session: the run.
        places: where published libraries are on the server.
        rules: who may see what.
    """

    def __init__(self, session: Session, places: Places, rules: AccessRules) -> None:
        self._session, self._places, self._rules = session, places, rules
        self._server, self._manifest = session.server, session.manifest

    def grant(
        self, viewers: Mapping[str, frozenset[str]], gone: Collection[PlacedLibrary], *, only_listed: bool = False
    ) -> Granted:
        """Set who sees which library. Every published library and every user of the server is considered.

        Args:
            viewers: ids of the users who may see a library, by list key.
            gone: libraries that are retired.
            only_listed: consider only users who were given a list of libraries.
        """
        granted = Granted()
        with self._manifest.policies():
            access = self._access(viewers, gone, granted.records)
            for user, change in self._changes(access):
                if only_listed and change.user_id not in access.lists:
                    continue
                if change.warning is not None:
                    self._session.warn(change.warning)
                try:
                    self._apply(change, access.lists.get(change.user_id))
                except Exception as error:
                    refused = f"{change.name}: the media server refused to change what they may see ({error})"
                    granted.refused[change.user_id] = error
                    if user["Policy"].get("EnableAllFolders"):
                        granted.unprotected[change.user_id] = refused
                    self._session.warn(refused)
        return granted

    def preview(self, wanted: Mapping[str, tuple[str, frozenset[str]]], gone: Collection[PlacedLibrary]) -> None:
        """Say whose policies :meth:`grant` would change once the libraries are there.

        Args:
            wanted: name and viewers of the libraries that would be published, by list key.
            gone: libraries that would be retired.
        """
        access = self._access({key: seen_by for key, (_, seen_by) in wanted.items()}, gone, {})
        there = {library.list_key for library in access.own}
        access.own += [
            OwnLibrary(f"new {key}", f"new {key}", seen_by, name, key)
            for key, (name, seen_by) in wanted.items()
            if key not in there
        ]
        self._say([change for _, change in self._changes(access)])

    def has_new_libraries(self) -> bool:
        """Look, with one request, whether a library is on the server that is not on everybody's list yet."""
        lists = self._manifest.library_lists().values()
        return bool(lists) and has_new_libraries(lists, self._places.others(self._server.libraries()))

    def _access(
        self,
        viewers: Mapping[str, frozenset[str]],
        gone: Collection[PlacedLibrary],
        recorded: dict[str, PlacedLibrary],
    ) -> Libraries:
        """Read what decides about access. ``recorded`` gets the libraries whose ids are recorded only now."""
        access = Libraries()
        libraries = self._server.libraries()
        listed, leaving = by_place(libraries), {record.list_key for record in gone}
        for record in gone:
            access.retired |= {one: record.name for one in (record.server_item_id, record.policy_id) if one}
        for record in self._session.roots.libraries().values():
            library = listed.get(as_path(self._places.location(record)))
            if library is None or not library.item_id or record.list_key in leaving:
                continue
            if (record.server_item_id, record.policy_id) != (library.item_id, library.policy_id):
                # Remembered before anybody's policy holds them, so that they can be taken back in any case.
                access.retired |= {one: record.name for one in (record.server_item_id, record.policy_id) if one}
                recorded[record.list_key] = replace(record, server_item_id=library.item_id, policy_id=library.policy_id)
                if not self._server.dry_run:
                    self._manifest.write_library(recorded[record.list_key])
            seen_by = viewers[record.list_key] if record.list_key in viewers else self._rules.viewers_of(record)
            access.own.append(OwnLibrary(library.item_id, library.policy_id, seen_by, library.name, record.list_key))
        access.others = self._places.others(libraries)
        for library in access.own:
            for one in (library.item_id, library.policy_id):
                access.retired.pop(one, None)
        access.hidden, access.lists = self._manifest.settings_set(), self._manifest.library_lists()
        return access

    def _changes(self, access: Libraries) -> Iterator[tuple[dict[str, Any], AccessChange]]:
        for user in self._server.user_objects().values():
            yield user, plan_access(user, access, self._rules)

    def _apply(self, change: AccessChange, before: LibraryList | None) -> None:
        if change.is_new_list and change.given is not None:
            # Before it is true: a list that nobody remembers would never be taken back.
            self._manifest.write_library_list(change.given)
        if change.policy is not None:
            self._server.set_policy(change.user_id, change.policy)
        if change.given is None and before is not None:
            self._manifest.forget_library_list(change.user_id)
        elif change.given is not None and change.given != before and not change.is_new_list:
            # Only now: who lacks a library that was offered counts as restricted by the operator.
            self._manifest.write_library_list(change.given)
        if change.configuration is not None:
            self._server.set_configuration(change.user_id, change.configuration)
        if change.noted or change.forgotten:
            self._manifest.note_settings(change.noted, change.forgotten)
        self._say([change])

    def _say(self, changes: Iterable[AccessChange]) -> None:
        """Keep what is said about policies for the operator, each sentence once, with the users of whom it is true."""
        for change in changes:
            if change.about is not None:
                self._session.access.setdefault(change.about, {})[change.name] = None
