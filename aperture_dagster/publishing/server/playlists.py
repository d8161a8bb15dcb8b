"""Collections and playlists on the media server, changed by difference and in rank order where the server keeps one.

What people put into one of ours themselves stays, after our titles; only what was put there by this product is removed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

from aperture_dagster.model import counted
from aperture_dagster.publishing.placed import PlacedList
from aperture_dagster.publishing.server.outcomes import PublishingOutcome
from aperture_dagster.publishing.server.places import library_names
from aperture_dagster.publishing.server.work import PublishingRun

if TYPE_CHECKING:
    from aperture_dagster.media_server.records import ServerList

ListKind = Literal["collection", "playlist"]


@dataclass(frozen=True, slots=True)
class DesiredList:
    """A collection or playlist as it should be.

    ``items`` are server ids of originals in rank order. Without any, the list is deleted, or keeps only what others
    added to it.
    """

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


def target_items(wanted: Sequence[str], theirs: Sequence[str]) -> list[str]:
    """Return what a list should hold: our titles in rank order, then what others added, in their order."""
    return list(dict.fromkeys([*wanted, *theirs]))


def kept_items(current: Sequence[str], target: Sequence[str]) -> int:
    """Return how many items from the beginning of ``target`` can stay if others are removed and the rest is appended.

    If an item is there twice, none: servers would remove both.
    """
    if len(set(current)) != len(current):
        return 0
    count = 0
    for item in current:
        if count < len(target) and item == target[count]:
            count += 1
    return count


class ListPublisher:
    """Publishes collections and playlists. Each list of the server is read once per run.

    Args:
        run: what the steps of this run share.
        names: of users by id, for messages.
    """

    def __init__(self, run: PublishingRun, names: Mapping[str, str]) -> None:
        self._server, self._manifest, self._log, self._names = run.server, run.manifest, run.log, names
        self._seen: dict[str, list[ServerList]] = {}
        self._known_users: set[str] | None = None

    def publish(self, wanted: Sequence[DesiredList], *, retired: Iterable[PlacedList] = ()) -> list[PublishingOutcome]:
        """Bring lists to their desired state, and delete others; one that fails costs only itself."""
        leaving = list(retired)
        if not wanted and not leaving:
            return []
        with self._manifest.exclusively():
            placed = {(one.list_key, one.kind, one.user_id): one for one in self._manifest.lists()}
            outcomes = []
            for one in leaving:
                gone = DesiredList(one.list_key, one.kind, one.user_id, one.name, ())
                outcome = self._guarded(gone, lambda one=one, gone=gone: self._retire(one, gone))
                outcome.retired = True
                outcomes.append(outcome)
            for one in wanted:
                before = placed.get((one.list_key, one.kind, one.user_id))
                if one.items:
                    outcomes.append(self._guarded(one, lambda one=one, before=before: self._sync(one, before)))
                elif before is not None:
                    outcomes.append(self._guarded(one, lambda one=one, before=before: self._empty(one, before)))
        return outcomes

    def _guarded(self, one: DesiredList, act: Callable[[], PublishingOutcome]) -> PublishingOutcome:
        try:
            return act()
        except Exception as error:
            self._log.warning(f"{self._outcome(one).label}: {error}")
            # What was read may be wrong now.
            self._seen.clear()
            return self._outcome(one, error=error)

    def _sync(self, wanted: DesiredList, before: PlacedList | None) -> PublishingOutcome:
        """Bring a list to its desired state, without what its owner may not see, or what has left the server meanwhile.

        A server would leave that out of a playlist and say nothing; with it, Jellyfin adds nothing to a collection.
        """
        shown = self._find(wanted, before)
        current = self._items(wanted, shown.list_id) if shown is not None else []
        others = before.others if before is not None and before.server_list_id is None else ()
        missing = [item for item in (*wanted.items, *others) if item not in set(current)]
        unknown = set(missing) - self._server.known_items(missing, wanted.user_id or None) if missing else set()
        one = replace(wanted, items=tuple(item for item in wanted.items if item not in unknown))
        if before is not None and others:
            before = replace(before, others=tuple(item for item in others if item not in unknown))
        outcome = self._change(one, before, shown, current) if one.items else self._outcome(one)
        left_out = len(wanted.items) - len(one.items)
        if left_out:
            why = "its owner may not see" if one.kind == "playlist" else "the media server no longer has"
            outcome.skipped = (f"{outcome.label}: {counted(left_out, 'titles')} that {why}",)
        return outcome

    def _empty(self, one: DesiredList, before: PlacedList) -> PublishingOutcome:
        """Take our titles off a list, and delete it unless others added something to it."""
        shown = self._find(one, before)
        current = self._items(one, shown.list_id) if shown is not None else []
        if shown is not None and _theirs(one, current, before):
            return self._change(one, before, shown, current)
        outcome = self._retire(before, one)
        outcome.retired = True
        return outcome

    def _change(
        self, one: DesiredList, before: PlacedList | None, shown: ServerList | None, current: Sequence[str]
    ) -> PublishingOutcome:
        theirs = _theirs(one, current, before)
        target = target_items(one.items, theirs)
        record = PlacedList(
            one.list_key, one.kind, one.user_id, _name(one, before), None, tuple(one.items), tuple(theirs)
        )
        if shown is None:
            return self._create(one, record, target)
        if one.kind == "playlist":
            target = _as_settled(current, target, before)
        if before is not None and before.name not in library_names(one.name):
            # A renamed list is a new one, as for libraries; what others added moves along.
            self._note(_while_written(record, before, before.name))
            self._delete(one, shown.list_id)
            return self._create(one, record, target)
        outcome = self._outcome(one, added=len(set(target) - set(current)), removed=len(set(current) - set(target)))
        list_id = shown.list_id
        if self._keeps_order(one):
            order = self._order(one, current, before)
            outcome.changed = _moved(order, target) if order is not None else 0
            if order != target:
                self._note(_while_written(record, before, shown.name))
                kept = kept_items(order, target) if order is not None else 0
                list_id = self._rewrite(one, shown, current, target, kept)
        elif set(current) != set(target):
            self._note(_while_written(record, before, shown.name))
            # First what is new: a collection without any member may disappear.
            self._server.add_to_collection(list_id, [item for item in target if item not in set(current)])
            self._server.remove_from_collection(list_id, [item for item in current if item not in set(target)])
        record = replace(record, server_list_id=list_id, changed=outcome.changes)
        if record != before:
            self._note(record)
        return outcome

    def _create(self, one: DesiredList, record: PlacedList, items: Sequence[str]) -> PublishingOutcome:
        """Create a list. The stamp comes last: a list that has it is complete."""
        record = replace(record, name=self._free_name(one))
        self._note(record)
        if one.kind == "collection":
            list_id = self._server.create_collection(record.name, items)
            self._server.set_display_order(list_id, "Default")
        else:
            list_id = self._server.create_playlist(record.name, one.user_id, items)
        self._server.stamp(list_id, one.marker, user_id=one.user_id or None)
        self._seen.pop(one.user_id, None)
        self._note(replace(record, server_list_id=list_id, changed=len(items)))
        return self._outcome(one, added=len(items), created=True)

    def _rewrite(
        self, one: DesiredList, shown: ServerList, current: Sequence[str], target: Sequence[str], kept: int
    ) -> str:
        """Make a list hold ``target`` in this order, of which ``kept`` items stay; return its id, perhaps a new one."""
        list_id, staying = shown.list_id, set(target[:kept])
        stale, missing = [item for item in current if item not in staying], list(target[kept:])
        if one.kind == "collection":
            self._server.remove_from_collection(list_id, stale)
            self._server.add_to_collection(list_id, missing)
            return list_id
        if stale and not self._server.can_remove_playlist_entries:
            self._delete(one, list_id)
            if self._server.dry_run:
                # Its name is still taken.
                return list_id
            list_id = self._server.create_playlist(shown.name, one.user_id, target)
            self._server.stamp(list_id, one.marker, user_id=one.user_id)
            return list_id
        if stale:
            entries = self._server.playlist_entries(list_id, one.user_id)
            leaving = [entry for entry, item in entries if item not in staying]
            self._server.remove_from_playlist(list_id, one.user_id, list(dict.fromkeys(leaving)))
        self._server.add_to_playlist(list_id, one.user_id, missing)
        return list_id

    def _order(self, one: DesiredList, current: Sequence[str], before: PlacedList | None) -> list[str] | None:
        """The items of a list in their order: as last written where the server does not say, None if unknown."""
        if one.kind == "playlist" or self._server.lists_collections_in_order:
            return list(current)
        if before is None or before.server_list_id is None:
            return None
        written = target_items(before.items, before.others)
        return [*(item for item in written if item in current), *(item for item in current if item not in written)]

    def _retire(self, placed: PlacedList, gone: DesiredList) -> PublishingOutcome:
        if gone.kind == "playlist" and gone.user_id not in self._users():
            # The server refuses to list the playlists of a user who was deleted; most likely it deleted them, too.
            listed = self._server.playlists(None)
            shown = next((each for each in listed if each.marker == gone.marker), None)
        else:
            shown = self._find(gone, placed)
        if shown is not None:
            self._delete(gone, shown.list_id)
        if not self._server.dry_run:
            self._manifest.forget_list(placed)
        return self._outcome(gone, removed=len(placed.items))

    def _users(self) -> set[str]:
        if self._known_users is None:
            self._known_users = set(self._server.user_objects())
        return self._known_users

    def _delete(self, one: DesiredList, list_id: str) -> None:
        self._server.delete_list(
            list_id,
            expected_type="BoxSet" if one.kind == "collection" else "Playlist",
            marker=one.marker,
            user_id=one.user_id if one.user_id in self._users() else None,
        )
        self._seen.pop(one.user_id, None)

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
            ours = {*before.items, *before.others}
            interrupted = before.server_list_id is None and set(self._items(one, each.list_id)) <= ours
            if each.list_id == before.server_list_id or interrupted:
                if one.kind == "collection" and interrupted:
                    self._server.set_display_order(each.list_id, "Default")
                self._server.stamp(each.list_id, one.marker, user_id=one.user_id or None)
                return each
        return None

    def _listed(self, one: DesiredList) -> list[ServerList]:
        if one.user_id not in self._seen:
            read = self._server.collections if one.kind == "collection" else lambda: self._server.playlists(one.user_id)
            self._seen[one.user_id] = read()
        return self._seen[one.user_id]

    def _items(self, one: DesiredList, list_id: str) -> list[str]:
        if one.kind == "collection":
            return self._server.collection_items(list_id)
        return [item_id for _, item_id in self._server.playlist_entries(list_id, one.user_id)]

    def _free_name(self, one: DesiredList) -> str:
        taken = {each.name.casefold() for each in self._listed(one)}
        return next(name for name in library_names(one.name) if name.casefold() not in taken)

    def _keeps_order(self, one: DesiredList) -> bool:
        return one.kind == "playlist" or self._server.keeps_collection_order

    def _outcome(self, one: DesiredList, **what: Any) -> PublishingOutcome:
        outcome = PublishingOutcome(
            one.list_key, one.name, one.user_id or None, one.kind, entries=len(one.items), **what
        )
        outcome.whose = self._names.get(outcome.owner or "", "")
        return outcome

    def _note(self, record: PlacedList) -> None:
        if not self._server.dry_run:
            self._manifest.write_list(record)


def _theirs(one: DesiredList, current: Sequence[str], before: PlacedList | None) -> list[str]:
    """What others added to a list, even if we want it as well."""
    if before is None:
        return [item for item in dict.fromkeys(current) if item not in one.items]
    found = [item for item in dict.fromkeys(current) if item in before.others or item not in before.items]
    if before.server_list_id is None:
        # A run ended while the list was being written; what others added may be missing from it.
        found = list(dict.fromkeys([*before.others, *found]))
    return found


def _as_settled(current: Sequence[str], target: list[str], before: PlacedList | None) -> list[str]:
    """Return what a playlist holds already, if all that is missing from it was put into it before, else ``target``.

    The server has dropped that, for whatever reason, or its owner has removed it. With the next change of the list it
    is tried again.
    """
    if before is None or before.server_list_id is None:
        return target
    tried = set(before.items) - set(current)
    left = [item for item in target if item not in tried]
    return left if left == list(current) else target


def _while_written(record: PlacedList, before: PlacedList | None, name: str) -> PlacedList:
    """The record of a list while it is being written: what is ours before or after."""
    ours = tuple(dict.fromkeys([*record.items, *(before.items if before is not None else ())]))
    return replace(record, name=name, items=ours)


def _name(one: DesiredList, before: PlacedList | None) -> str:
    """The name that we gave a list; its owner may have renamed it."""
    return before.name if before is not None else next(library_names(one.name))


def _moved(current: Sequence[str], target: Sequence[str]) -> int:
    """How many items that stay are in another order."""
    common = set(current) & set(target)
    old, new = ([item for item in dict.fromkeys(items) if item in common] for items in (current, target))
    return sum(one != other for one, other in zip(old, new, strict=True))
