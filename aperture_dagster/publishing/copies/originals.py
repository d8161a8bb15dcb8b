"""Published copies on the media server: which originals they show, and the states that users have of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

from aperture_dagster.catalogue.history.states import PageResult, write_states
from aperture_dagster.catalogue.versions import record_published_copies
from aperture_dagster.media_server.records import ItemState
from aperture_dagster.model import MEDIA_TYPES
from aperture_dagster.postgres.queries import array_of, execute
from aperture_dagster.publishing.disk.names import entry_id, entry_id_of, is_list_folder, list_folder
from aperture_dagster.publishing.manifest import note_shown
from aperture_dagster.ratings.outbox import take_server_ratings

if TYPE_CHECKING:
    from sqlalchemy import Connection


class _Place(NamedTuple):
    """Where a published copy lies: the folders of its list and of its entry, and its path below these."""

    list_folder: str
    entry_folder: str
    file: str


def record_states(
    connection: Connection,
    user_id: str,
    states: Sequence[ItemState],
    *,
    now: datetime,
    requested_at: datetime | None = None,
) -> PageResult:
    """Write a page of a user's states as :func:`write_states` does, those of published copies to their originals.

    A copy whose id on the server was never recorded, as after a publication that was interrupted, is recognised by its
    path. Its id is recorded now, since the copy may be gone before its state is read again.

    ``requested_at``: the database's time before the states were requested. Ratings that were noted since are kept.
    """

    def write(some: Sequence[ItemState]) -> PageResult:
        return write_states(connection, user_id, some, now=now)

    result = write(states)
    copies = originals_of_copies(connection, result.unmatched)
    if copies:
        record_published_copies(connection, copies)
        places = {state.server_item_id: place.list_folder for state in states if (place := _place(state.path))}
        note_shown(connection, {one: places[one] for one in copies})
        more = write([state for state in result.unmatched if state.server_item_id in copies])
        result.states += more.states
        result.plays += more.plays
        result.ratings += more.ratings
        result.unknown += more.unknown - len(copies)
        result.unmatched = [one for one in result.unmatched if one.server_item_id not in copies] + more.unmatched
    result.rating_changes = take_server_ratings(connection, user_id, result.ratings, now=now, requested_at=requested_at)
    return result


def originals_of_copies(connection: Connection, states: Iterable[ItemState]) -> dict[str, int]:
    """Return the rows of the titles and episodes that published copies show, by the copies' ids on the server.

    A copy is recognised by its path: the names of the folders of a list and of an entry are those of no other folder,
    whatever is above them. What the entry shows is in the manifest or, if the entry is missing there, as after the
    restore of an older database, follows from the id in the folder's name. States of other items are left out.
    """
    placed = {state: place for state in states if (place := _place(state.path)) is not None}
    if not placed:
        return {}
    entries = _entries(connection, placed.values())
    works = {work_id for work_id, _ in entries.values()}
    rows = execute(
        connection,
        """SELECT work_id, item_id, NULL::int AS season, NULL::int AS number FROM work_copies
        WHERE work_id = ANY(:works) UNION ALL SELECT work_id, min(item_id), season, number FROM episodes
        WHERE work_id = ANY(:works) AND number IS NOT NULL GROUP BY work_id, season, number""",
        works=array_of(works),
    )
    items = {(row.work_id, row.season, row.number): row.item_id for row in rows}
    found: dict[str, int] = {}
    for state, place in placed.items():
        work_id, files = entries.get((place.list_folder, place.entry_folder), (None, {}))
        original = files.get(place.file)
        if original is None and (state.number is not None or not state.is_episode):
            original = items.get((work_id, state.season, state.number))
        if original is not None:
            found[state.server_item_id] = original
    return found


def entry_folder_in(path: str | None) -> str | None:
    """Return the folder of the entry in the path of a published copy, as the server has it; None for other paths."""
    place = _place(path)
    return place.entry_folder if place is not None else None


def _place(path: str | None) -> _Place | None:
    segments = (path or "").replace("\\", "/").split("/")
    for number, (segment, below) in enumerate(pairwise(segments)):
        if is_list_folder(segment) and entry_id_of(below) is not None:
            return _Place(segment, below, "/".join(segments[number + 2 :]))
    return None


def _entries(connection: Connection, places: Iterable[_Place]) -> dict[tuple[str, str], tuple[int, Mapping[str, int]]]:
    """Return work and originals (by the path of the file) of entries, by the folders of their lists and their own."""
    wanted = {(place.list_folder, place.entry_folder) for place in places}
    rows = execute(
        connection,
        """SELECT l.folder AS list_folder, e.folder, e.work_id, e.files FROM published_entries e
        JOIN published_libraries l USING (list_key)
        WHERE l.folder = ANY(:lists) AND e.folder = ANY(:entries) AND e.work_id IS NOT NULL""",
        lists=list({one for one, _ in wanted}),
        entries=list({one for _, one in wanted}),
    )
    found: dict[tuple[str, str], tuple[int, Mapping[str, int]]] = {
        (row.list_folder, row.folder): (
            row.work_id,
            {path: file[5] for path, file in row.files.items() if file[5] is not None},
        )
        for row in rows
    }
    lost = wanted - found.keys()
    if lost:
        found |= {one: (work_id, {}) for one, work_id in _works_by_id(connection, lost).items()}
    return found


def _works_by_id(connection: Connection, folders: Iterable[tuple[str, str]]) -> dict[tuple[str, str], int]:
    """Find the works of entries by their ids, which are made from list and work: all are tried."""
    users = list(execute(connection, "SELECT user_id FROM users").scalars())
    keys = [f"recommendations/{user_id}/{media_type}" for user_id in users for media_type in MEDIA_TYPES]
    keys += [f"shows_you_watch/{user_id}" for user_id in users] + [f"top_picks/{one}" for one in MEDIA_TYPES]
    lists = {list_folder(key): key for key in keys}
    works = list(execute(connection, "SELECT work_id FROM works").scalars())
    found: dict[tuple[str, str], int] = {}
    by_list: dict[str, dict[str, int]] = {}
    for folder, entry in folders:
        key = lists.get(folder)
        if key is None:
            continue
        if key not in by_list:
            by_list[key] = {entry_id(key, work_id): work_id for work_id in works}
        work_id = by_list[key].get(entry_id_of(entry) or "")
        if work_id is not None:
            found[folder, entry] = work_id
    return found
