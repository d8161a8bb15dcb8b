"""Which incoming item is which known title, and which titles are one work.

The server's item id decides. When the server has given an item a new id, its provider ids, then its path, recognise
it; title and year alone never do. Items whose provider ids agree are copies of one *work*.
"""

from __future__ import annotations

import itertools
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

    def recognise(item: Incoming, candidates: Iterable[Known | None]) -> Known | None:
        return next(
            (
                title
                for title in candidates
                if title is not None and title.item_id not in taken and not item.ids.contradicts(title.ids)
            ),
            None,
        )

    titles: dict[str, Known] = {}
    newcomers = [item for item in listed.values() if item.server_item_id not in by_server_id]
    # Of several copies of one film, the one at the same path is this one: paths are looked at for all before ids.
    by_path = ((item, [orphans_by_path.get(item.path or "")]) for item in newcomers)
    by_ids = ((item, [t for pair in item.ids.present() for t in orphans_by_id.get(pair, [])]) for item in newcomers)
    for item, candidates in itertools.chain(by_path, by_ids):
        if item.server_item_id not in titles and (title := recognise(item, candidates)) is not None:
            titles[item.server_item_id] = title
            taken.add(title.item_id)
    recognised = len(titles)
    titles |= {item_id: title for item_id, title in by_server_id.items() if item_id in listed}

    ids_of = dict(works)
    work_by_id: dict[tuple[str, int | str], int] = {}
    # Where two works share an id, the one that more is known of draws the copies together.
    for work_id, ids in sorted(ids_of.items(), key=lambda entry: (-len(entry[1].present()), entry[0])):
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
                other = work_by_id.get(pair)
                if other is None or len(ids_of[other].present()) < len(filled.present()):
                    work_by_id[pair] = work_id
        return work_id

    # Items with most ids first: they tie those together that have one each.
    work_ids = {
        item.server_item_id: work_for(item, titles.get(item.server_item_id))
        for item in sorted(listed.values(), key=lambda item: -len(item.ids.present()))
    }
    assignments = []
    for server_item_id in listed:
        title = titles.get(server_item_id)
        item_id = title.item_id if title is not None else new_item_id()
        assignments.append(Assignment(server_item_id, item_id, work_ids[server_item_id]))
    return Identities(assignments, changed, recognised)
