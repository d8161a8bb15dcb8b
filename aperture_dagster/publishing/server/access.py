"""Let exactly the right users see each published library, whatever somebody else changed meanwhile."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from aperture_dagster.publishing.disk.paths import as_path
from aperture_dagster.publishing.placed import LibraryList, PlacedLibrary
from aperture_dagster.publishing.server.access_plan import (
    AccessChange,
    AccessRules,
    Libraries,
    OwnLibrary,
    has_new_libraries,
    plan_access,
)
from aperture_dagster.publishing.server.places import Places, by_place
from aperture_dagster.publishing.server.work import PublishingRun


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
        run: what the steps of this run share.
        places: where published libraries are on the server.
        rules: who may see what.
    """

    def __init__(self, run: PublishingRun, places: Places, rules: AccessRules) -> None:
        self._run, self._places, self._rules = run, places, rules
        self._server, self._manifest = run.server, run.manifest

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
                    self._run.warn(change.warning)
                try:
                    self._apply(change, access.lists.get(change.user_id))
                except Exception as error:
                    refused = f"{change.name}: the media server refused to change what they may see ({error})"
                    granted.refused[change.user_id] = error
                    if user["Policy"].get("EnableAllFolders"):
                        granted.unprotected[change.user_id] = refused
                    self._run.warn(refused)
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
        for record in self._run.roots.libraries().values():
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
                self._run.access.setdefault(change.about, {})[change.name] = None
