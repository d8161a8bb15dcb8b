"""Collections and playlists on the media server, changed by difference and in rank order where the server keeps one.

What people put into one of ours themselves stays, after our titles; only what was put there by this product is removed.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from aperture_dagster.publishing.manifest import Manifest, PlacedList
from aperture_dagster.publishing.outcome import Outcome
from aperture_dagster.publishing.places import library_names

if TYPE_CHECKING:
    from aperture_dagster.resources.media_server.records import ServerList
    from aperture_dagster.resources.media_server.writer import MediaServerWriter

ListKind = Literal["collection", "playlist"]


@dataclass(frozen=True, slots=True)
class DesiredList:
    """A collection or playlist as it should be. ``items`` are server ids of originals in rank order."""

    list_key: str
    kind: ListKind
    user_id: str
    name: str
    items: tuple[str, ...]

    @property
    def marker(self) -> str:
        """The stamp by which it is recognised on the server; says nothing about its owner."""
        return marker_of(self.list_key, self.kind, self.user_id)


def marker_of(list_key: str, kind: str, user_id: str) -> str:
    """Return the stamp of a list."""
    return hashlib.blake2b(f"{list_key}\0{kind}\0{user_id}".encode(), digest_size=8).hexdigest()


def target_items(current: Sequence[str], wanted: Sequence[str], ours: Collection[str]) -> list[str]:
    """Return what a list should hold: our titles in order, then what others added, in their order.

    Args:
        current: what it holds.
        wanted: what we put there now.
        ours: what we put there before.
    """
    known = {*wanted, *ours}
    return [*dict.fromkeys(wanted), *(one for one in dict.fromkeys(current) if one not in known)]


class ListPublisher:
    """Publishes collections and playlists.

    Args:
        server: every change on the media server goes through it.
        manifest: what was placed.
        log: for the operator.
    """

    def __init__(self, server: MediaServerWriter, manifest: Manifest, log: logging.Logger) -> None:
        self._server, self._manifest, self._log = server, manifest, log

    def publish(self, wanted: Sequence[DesiredList], *, retired: Iterable[PlacedList] = ()) -> list[Outcome]:
        """Bring lists to their desired state, and delete others; one that fails costs only itself."""
        placed = {(one.list_key, one.kind, one.user_id): one for one in self._manifest.lists()}
        outcomes = []
        for one in wanted:
            before = placed.get((one.list_key, one.kind, one.user_id))
            outcomes.append(self._guarded(one, lambda one=one, before=before: self._sync(one, before)))
        for one in retired:
            gone = DesiredList(one.list_key, one.kind, one.user_id, one.name, ())
            outcome = self._guarded(gone, lambda one=one, gone=gone: self._retire(one, gone))
            outcome.retired = True
            outcomes.append(outcome)
        return outcomes

    def _guarded(self, one: DesiredList, act: Callable[[], Outcome]) -> Outcome:
        try:
            return act()
        except Exception as error:
            self._log.warning(f"{one.name}: {error}")
            return _outcome(one, error=error)

    def _sync(self, one: DesiredList, before: PlacedList | None) -> Outcome:
        ours = before.items if before is not None else ()
        shown = self._find(one, before)
        if shown is not None and before is not None and before.name not in library_names(one.name):
            # A renamed list is a new one, as for libraries; what others added moves along.
            ours_now, current = set(ours), self._items(one, shown.list_id)
            self._delete(one, shown.list_id)
            added = [item for item in current if item not in ours_now]
            return self._create(one, target_items(added, one.items, ours))
        if shown is None:
            return self._create(one, list(one.items))
        current = self._items(one, shown.list_id)
        target = target_items(current, one.items, ours)
        outcome = _outcome(one, added=len(set(target) - set(current)), removed=len(set(current) - set(target)))
        list_id = shown.list_id
        in_order = current == target if self._keeps_order(one) else set(current) == set(target)
        if not in_order:
            moved = [old != new for old, new in zip(current, target, strict=False)]
            outcome.changed = sum(moved) if self._keeps_order(one) else 0
            list_id = self._rewrite(one, list_id, current, target)
        record = PlacedList(one.list_key, one.kind, one.user_id, shown.name, list_id, one.items, outcome.changes)
        if record != before and not self._server.dry_run:
            self._manifest.write_list(record)
        return outcome

    def _create(self, one: DesiredList, items: Sequence[str]) -> Outcome:
        if not items:
            return _outcome(one)
        name = self._free_name(one)
        record = PlacedList(one.list_key, one.kind, one.user_id, name, None, one.items)
        if not self._server.dry_run:
            self._manifest.write_list(record)
        if one.kind == "collection":
            list_id = self._server.create_collection(name, items)
            self._server.set_display_order(list_id, "Default")
        else:
            list_id = self._server.create_playlist(name, one.user_id, items)
        self._server.stamp(list_id, one.marker, user_id=one.user_id or None)
        if not self._server.dry_run:
            self._manifest.write_list(replace(record, server_list_id=list_id, changed=len(items)))
        return _outcome(one, added=len(items), created=True)

    def _rewrite(self, one: DesiredList, list_id: str, current: Sequence[str], target: Sequence[str]) -> str:
        """Make a list hold ``target``; return its id, which may be a new one."""
        appended = list(current) == list(target[: len(current)])
        keeps = self._keeps_order(one)
        stale = [] if appended else list(current) if keeps else [item for item in current if item not in set(target)]
        absent = [item for item in target if item not in set(current)]
        missing = target[len(current) :] if appended else target if keeps else absent
        if one.kind == "collection":
            # First what is new: a collection without any member may disappear.
            if not keeps:
                self._server.add_to_collection(list_id, list(missing))
                self._server.remove_from_collection(list_id, stale)
                return list_id
            self._server.remove_from_collection(list_id, stale)
            self._server.add_to_collection(list_id, list(missing))
            return list_id
        if stale and not self._server.can_remove_playlist_entries:
            self._delete(one, list_id)
            list_id = self._server.create_playlist(self._free_name(one), one.user_id, list(target))
            self._server.stamp(list_id, one.marker, user_id=one.user_id)
            return list_id
        if stale:
            entries = [entry for entry, _ in self._server.playlist_entries(list_id, one.user_id)]
            self._server.remove_from_playlist(list_id, one.user_id, entries)
        self._server.add_to_playlist(list_id, one.user_id, list(missing))
        return list_id

    def _retire(self, placed: PlacedList, gone: DesiredList) -> Outcome:
        shown = self._find(gone, placed)
        if shown is not None:
            self._delete(gone, shown.list_id)
        if not self._server.dry_run:
            self._manifest.forget_list(placed)
        return _outcome(gone, removed=len(placed.items))

    def _delete(self, one: DesiredList, list_id: str) -> None:
        self._server.delete_list(
            list_id,
            expected_type="BoxSet" if one.kind == "collection" else "Playlist",
            marker=one.marker,
            user_id=one.user_id or None,
        )

    def _find(self, one: DesiredList, before: PlacedList | None) -> ServerList | None:
        """Find the list on the server by its stamp; an id alone may belong to something else by now."""
        listed = self._listed(one)
        stamped = next((each for each in listed if each.marker == one.marker), None)
        if stamped is not None or before is None:
            return stamped
        for each in listed:
            if each.marker is not None or each.name != before.name:
                continue
            # The stamp got lost, or an earlier run ended between creating the list and stamping it.
            interrupted = before.server_list_id is None and set(self._items(one, each.list_id)) <= set(before.items)
            if each.list_id == before.server_list_id or interrupted:
                self._server.stamp(each.list_id, one.marker, user_id=one.user_id or None)
                return each
        return None

    def _listed(self, one: DesiredList) -> list[ServerList]:
        return self._server.collections() if one.kind == "collection" else self._server.playlists(one.user_id)

    def _items(self, one: DesiredList, list_id: str) -> list[str]:
        if one.kind == "collection":
            return self._server.collection_items(list_id)
        return [item_id for _, item_id in self._server.playlist_entries(list_id, one.user_id)]

    def _free_name(self, one: DesiredList) -> str:
        taken = {each.name.casefold() for each in self._listed(one)}
        return next(name for name in library_names(one.name) if name.casefold() not in taken)

    def _keeps_order(self, one: DesiredList) -> bool:
        return one.kind == "playlist" or self._server.keeps_collection_order


def _outcome(
    one: DesiredList,
    *,
    added: int = 0,
    changed: int = 0,
    removed: int = 0,
    created: bool = False,
    error: Exception | None = None,
) -> Outcome:
    return Outcome(
        list_key=one.list_key,
        name=one.name,
        user_id=one.user_id or None,
        kind=one.kind,
        entries=len(one.items),
        added=added,
        changed=changed,
        removed=removed,
        created=created,
        error=error,
    )
