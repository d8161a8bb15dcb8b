"""Let exactly the right users see each published library, whatever somebody else changed meanwhile."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace

from aperture_dagster.publishing.access import AccessChange, AccessRules, OwnLibrary, plan_access
from aperture_dagster.publishing.manifest import PlacedLibrary
from aperture_dagster.publishing.paths import as_path
from aperture_dagster.publishing.places import Places, by_place
from aperture_dagster.publishing.work import Session


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

    def grant(self, viewers: Mapping[str, frozenset[str]], gone: Collection[PlacedLibrary]) -> Granted:
        """Set who sees which library. Every published library and every user of the server is considered.

        Args:
            viewers: ids of the users who may see a library, by list key.
            gone: libraries that are retired.
        """
        granted, own = Granted(), []
        libraries = self._server.libraries()
        listed, leaving = by_place(libraries), {record.list_key for record in gone}
        retired = {one for record in gone for one in (record.server_item_id, record.policy_id) if one}
        for record in self._session.roots.libraries().values():
            library = listed.get(as_path(self._places.location(record)))
            if library is None or not library.item_id or record.list_key in leaving:
                continue
            if (record.server_item_id, record.policy_id) != (library.item_id, library.policy_id):
                # Remembered before anybody's policy holds them, so that they can be taken back in any case.
                retired |= {one for one in (record.server_item_id, record.policy_id) if one}
                granted.records[record.list_key] = replace(
                    record, server_item_id=library.item_id, policy_id=library.policy_id
                )
                self._manifest.write_library(granted.records[record.list_key])
            seen_by = viewers[record.list_key] if record.list_key in viewers else self._rules.viewers_of(record)
            own.append(OwnLibrary(library.item_id, library.policy_id, seen_by))
        others = [one.policy_id for one in libraries if not self._places.is_ours(one) and one.policy_id]
        retired -= {one for library in own for one in (library.item_id, library.policy_id)}
        remembered = self._manifest.settings_set()
        for user in self._server.user_objects().values():
            change = plan_access(
                user,
                own,
                others=others,
                retired=retired,
                remembered=remembered,
                rules=self._rules,
            )
            if change.warning is not None:
                self._session.warn(change.warning)
            try:
                self._apply(change)
            except Exception as error:
                refused = f"{change.name}: the media server refused to change what they may see ({error})"
                granted.refused[change.user_id] = error
                if user["Policy"].get("EnableAllFolders"):
                    granted.unprotected[change.user_id] = refused
                self._session.warn(refused)
        return granted

    def _apply(self, change: AccessChange) -> None:
        listed = [setting for setting in change.noted if setting[2] == "listed"]
        if listed:
            # Before it is true: a list that nobody remembers would never be taken back.
            self._manifest.note_settings(listed, ())
        if change.policy is not None:
            self._server.set_policy(change.user_id, change.policy)
        if change.configuration is not None:
            self._server.set_configuration(change.user_id, change.configuration)
        if change.noted or change.forgotten:
            self._manifest.note_settings(change.noted, change.forgotten)
