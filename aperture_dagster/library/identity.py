"""Which incoming item is which known title, and which titles are one work.

The server's item id decides. When the server has given an item a new id, its provider ids, then its path, recognise
it; title and year alone never do. Items whose provider ids agree are copies of one *work*.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ProviderIds:
    """The ids that other services know a title by."""

    tmdb_id: int | None = None
    imdb_id: str | None = None
    tvdb_id: int | None = None

    def present(self) -> list[tuple[str, int | str]]:
        """The ids that are there, the most trusted first."""
        pairs = (("tmdb", self.tmdb_id), ("imdb", self.imdb_id), ("tvdb", self.tvdb_id))
        return [(name, value) for name, value in pairs if value is not None]

    def contradicts(self, other: ProviderIds) -> bool:
        """Whether the most trusted id that both have differs."""
        mine = dict(self.present())
        for name, value in other.present():
            if name in mine:
                return mine[name] != value
        return False

    def filled_from(self, other: ProviderIds) -> ProviderIds:
        """These ids, with gaps filled from ``other``."""
        return ProviderIds(
            self.tmdb_id if self.tmdb_id is not None else other.tmdb_id,
            self.imdb_id if self.imdb_id is not None else other.imdb_id,
            self.tvdb_id if self.tvdb_id is not None else other.tvdb_id,
        )


@dataclass(frozen=True, slots=True)
class Incoming:
    """An item as the server lists it now."""

    server_item_id: str
    ids: ProviderIds
    path: str | None = None


@dataclass(frozen=True, slots=True)
class Known:
    """A title as the catalogue has it."""

    item_id: int
    work_id: int
    server_item_id: str
    ids: ProviderIds
    path: str | None = None


@dataclass(frozen=True, slots=True)
class Assignment:
    """What an incoming item is: a known title or a new one, of a known work or a new one."""

    server_item_id: str
    item_id: int
    work_id: int


@dataclass(slots=True)
class Identities:
    """The answer of :func:`assign_identities`. ``works`` holds the works whose ids are new or grew."""

    assignments: list[Assignment]
    works: dict[int, ProviderIds]
    recognised: int
    """Items that came under a new server id and were known again."""


def assign_identities(
    incoming: Sequence[Incoming],
    known: Iterable[Known],
    works: dict[int, ProviderIds],
    *,
    new_item_id: Callable[[], int],
    new_work_id: Callable[[], int],
) -> Identities:
    """Say what every incoming item is.

    Args:
        incoming: the items listed now, of one media type; an id that comes twice counts once.
        known: all titles of that type in the catalogue, tombstones included.
        works: the known works of that type and their ids.
        new_item_id, new_work_id: give the next free id.
    """
    listed = {item.server_item_id: item for item in incoming}
    known = list(known)
    by_server_id = {title.server_item_id: title for title in known}
    # Only a title that the server lists no more can have come back under another id.
    orphans = [title for title in known if title.server_item_id not in listed]
    orphans_by_id: dict[tuple[str, int | str], list[Known]] = {}
    orphans_by_path: dict[str, Known] = {}
    for title in orphans:
        for pair in title.ids.present():
            orphans_by_id.setdefault(pair, []).append(title)
        if title.path:
            orphans_by_path[title.path] = title
    taken: set[int] = set()

    def recognise(item: Incoming) -> Known | None:
        candidates = [title for pair in item.ids.present() for title in orphans_by_id.get(pair, [])]
        candidates = [title for title in candidates if not item.ids.contradicts(title.ids)]
        same_path = orphans_by_path.get(item.path or "")
        if same_path is not None and not item.ids.contradicts(same_path.ids):
            # Of several copies of one film, the one at the same path is this one.
            candidates.insert(0, same_path)
        return next((title for title in candidates if title.item_id not in taken), None)

    ids_of = dict(works)
    work_by_id: dict[tuple[str, int | str], int] = {}
    for work_id, ids in sorted(ids_of.items()):
        for pair in ids.present():
            work_by_id.setdefault(pair, work_id)
    changed: dict[int, ProviderIds] = {}

    def work_for(item: Incoming, title: Known | None) -> int:
        work_id = next(
            (
                found
                for pair in item.ids.present()
                if (found := work_by_id.get(pair)) is not None and not item.ids.contradicts(ids_of[found])
            ),
            None,
        )
        if work_id is None and title is not None and not item.ids.contradicts(ids_of[title.work_id]):
            work_id = title.work_id
        if work_id is None:
            work_id = new_work_id()
            ids_of[work_id] = ProviderIds()
            changed[work_id] = ids_of[work_id]
        filled = ids_of[work_id].filled_from(item.ids)
        if filled != ids_of[work_id]:
            ids_of[work_id] = changed[work_id] = filled
            for pair in filled.present():
                work_by_id.setdefault(pair, work_id)
        return work_id

    assignments, recognised = [], 0
    for item in listed.values():
        title = by_server_id.get(item.server_item_id)
        if title is None:
            title = recognise(item)
            recognised += title is not None
        if title is not None:
            taken.add(title.item_id)
        item_id = title.item_id if title is not None else new_item_id()
        assignments.append(Assignment(item.server_item_id, item_id, work_for(item, title)))
    return Identities(assignments, changed, recognised)
