"""Match incoming items to known titles, and group titles into works.

The server's item id decides, unless both provider ids and path show that the server has given the id to another item.
An item with a new id is matched by its path or its provider ids, never by title and year alone, and only to a title
that is known to be missing. Items whose provider ids agree are copies of one *work*.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from aperture_dagster.model import MediaType as MediaType


@dataclass(frozen=True, slots=True)
class ProviderIds:
    """Ids of a title at other services."""

    tmdb_id: int | None = None
    imdb_id: str | None = None
    tvdb_id: int | None = None

    def present(self) -> list[tuple[str, int | str]]:
        """Return the known ids, the most trusted first."""
        pairs = (("tmdb_id", self.tmdb_id), ("imdb_id", self.imdb_id), ("tvdb_id", self.tvdb_id))
        return [(name, value) for name, value in pairs if value is not None]

    def agrees_with(self, other: ProviderIds) -> bool | None:
        """Return whether the most trusted id that both have is the same; None if they share no kind of id."""
        if self.tmdb_id is not None and other.tmdb_id is not None:
            return self.tmdb_id == other.tmdb_id
        if self.imdb_id is not None and other.imdb_id is not None:
            return self.imdb_id == other.imdb_id
        if self.tvdb_id is not None and other.tvdb_id is not None:
            return self.tvdb_id == other.tvdb_id
        return None

    def contradicts(self, other: ProviderIds) -> bool:
        """Return whether the most trusted id that both have differs."""
        return self.agrees_with(other) is False

    def filled_from(self, other: ProviderIds) -> ProviderIds:
        """Return these ids, with missing ones taken from ``other``."""
        if self == other:
            return self
        return ProviderIds(
            other.tmdb_id if self.tmdb_id is None else self.tmdb_id,
            other.imdb_id if self.imdb_id is None else self.imdb_id,
            other.tvdb_id if self.tvdb_id is None else self.tvdb_id,
        )


@dataclass(frozen=True, slots=True)
class Incoming:
    """An item as the server lists it now."""

    server_item_id: str
    ids: ProviderIds
    path: str | None = None
    library_id: str | None = None
    title: str | None = None


@dataclass(frozen=True, slots=True)
class Known:
    """A title in the catalogue.

    ``server_item_id`` is None once the server has given it to another item. ``missing``: an unlisted title is really
    gone, because its library was listed completely, and all of its items could be read.
    """

    item_id: int
    work_id: int
    server_item_id: str | None
    ids: ProviderIds
    path: str | None = None
    library_id: str | None = None
    title: str | None = None
    missing: bool = True

    def was_replaced_by(self, item: Incoming) -> bool:
        """Return whether the item listed under this title's id is a different one.

        Other provider ids at the same path are a corrected identification, another path alone is a moved file. If no
        ids can be compared, the name decides.
        """
        if item.path == self.path:
            return False
        agrees = item.ids.agrees_with(self.ids)
        return item.title != self.title if agrees is None else not agrees


@dataclass(frozen=True, slots=True)
class Assignment:
    """The title and work of an incoming item; either may be known or new."""

    server_item_id: str
    item_id: int
    work_id: int


@dataclass(slots=True)
class Identities:
    """The works that are new or have gained ids, and the number of known titles that came with a new server id."""

    assignments: list[Assignment]
    works: dict[int, ProviderIds]
    recognised: int


def assign_identities(
    incoming: Sequence[Incoming],
    known: Iterable[Known],
    works: dict[int, ProviderIds],
    *,
    new_item_id: Callable[[], int],
    new_work_id: Callable[[], int],
) -> Identities:
    """Assign a title and a work to every incoming item.

    Args:
        incoming: the items listed now, of one media type; a repeated id counts once.
        known: the titles of that type in the catalogue; earlier ones win ties.
        works: the known works of that type and their ids.
        new_item_id, new_work_id: return the next free id.
    """
    listed = {item.server_item_id: item for item in incoming}
    titles: dict[str, Known] = {}
    unmatched: list[Known] = []
    for title in known:
        item = listed.get(title.server_item_id or "")
        if item is None or title.was_replaced_by(item):
            unmatched.append(title)
        else:
            titles[item.server_item_id] = title
    newcomers = [item for item in listed.values() if item.server_item_id not in titles]
    recognised = _recognise(newcomers, unmatched)
    titles |= recognised

    ids_of = dict(works)
    work_by_id: dict[tuple[str, int | str], int] = {}
    # If two works share an id, copies join the work with more ids.
    for work_id, ids in sorted(ids_of.items(), key=lambda entry: (-len(entry[1].present()), entry[0])):
        for pair in ids.present():
            work_by_id.setdefault(pair, work_id)
    changed: dict[int, ProviderIds] = {}

    def work_for(item: Incoming, pairs: list[tuple[str, int | str]], title: Known | None) -> int:
        work_id = next(
            (
                found
                for pair in pairs
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

    # Items with most ids first: they connect items that have only one each.
    with_pairs = [(item, item.ids.present()) for item in listed.values()]
    with_pairs.sort(key=lambda entry: -len(entry[1]))
    work_ids = {
        item.server_item_id: work_for(item, pairs, titles.get(item.server_item_id)) for item, pairs in with_pairs
    }
    assignments = []
    for server_item_id in listed:
        title = titles.get(server_item_id)
        item_id = title.item_id if title is not None else new_item_id()
        assignments.append(Assignment(server_item_id, item_id, work_ids[server_item_id]))
    return Identities(assignments, changed, len(recognised))


def choose_work(ids: ProviderIds, by_id: Mapping[tuple[str, int | str], Sequence[int]]) -> tuple[int | None, bool]:
    """Return the work that these ids point to, None if no work has any of them, and whether they contradict each other.

    ``by_id``: the works that have an id, those to be preferred first. Several works may share one; the one that most
    ids agree on is meant.
    """
    pointed = [by_id[pair] for pair in ids.present() if by_id.get(pair)]
    if not pointed:
        return None, False
    agreed = [work_id for work_id in pointed[0] if all(work_id in others for others in pointed[1:])]
    return (agreed[0], False) if agreed else (None, True)


def _recognise(newcomers: Sequence[Incoming], unmatched: Sequence[Known]) -> dict[str, Known]:
    """Return the known titles that came with a new id, by server id.

    The same path in the same library is the same item, even in an incomplete listing. Anything else could be another
    copy, unless the known title is certainly missing.
    """
    by_path: dict[str, list[Known]] = {}
    by_id: dict[tuple[str, int | str], list[Known]] = {}
    for title in unmatched:
        if title.path:
            by_path.setdefault(title.path, []).append(title)
        for pair in title.ids.present():
            by_id.setdefault(pair, []).append(title)

    def at_the_path(item: Incoming) -> Iterable[Known]:
        candidates = by_path.get(item.path or "", ())
        return (title for title in candidates if title.missing or title.library_id == item.library_id)

    def with_an_id(item: Incoming) -> Iterable[Known]:
        return (title for pair in item.ids.present() for title in by_id.get(pair, ()) if title.missing)

    def with_an_id_in_its_library(item: Incoming) -> Iterable[Known]:
        return (title for title in with_an_id(item) if title.library_id == item.library_id)

    recognised: dict[str, Known] = {}
    if not unmatched:
        return recognised
    taken: set[int] = set()
    # Apply each rule to all newcomers before the next rule: of several copies, the one at the same path comes first.
    for candidates in (at_the_path, with_an_id_in_its_library, with_an_id):
        for item in newcomers:
            if item.server_item_id in recognised:
                continue
            for title in candidates(item):
                if title.item_id not in taken and not item.ids.contradicts(title.ids):
                    recognised[item.server_item_id] = title
                    taken.add(title.item_id)
                    break
    return recognised
