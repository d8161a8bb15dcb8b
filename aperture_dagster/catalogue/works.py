"""Works of titles that other services know, in the library or not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict

from sqlalchemy import Connection, insert

from aperture_dagster.catalogue.identity import ProviderIds, choose_work
from aperture_dagster.catalogue.tables import works
from aperture_dagster.media_server.records import MediaType
from aperture_dagster.postgres.bulk import upsert
from aperture_dagster.postgres.queries import execute, lock_until_commit

ID_NAMES = ("tmdb_id", "imdb_id", "tvdb_id")


def works_for(connection: Connection, media_type: MediaType, ids: Sequence[ProviderIds]) -> list[int | None]:
    """Find the work of each set of ids, or create it; None if the ids point to different works, or there are none.

    A work without copies gains the ids that it lacks; a work in the library has the library's ids only. Takes the
    catalogue's lock until the end of the transaction.
    """
    # A sync of the catalogue must not create the same work meanwhile.
    lock_until_commit(connection, "catalogue")
    known, owned = _works_with(connection, media_type, ids)
    by_id: dict[tuple[str, int | str], list[int]] = {}
    # The library's own work first, then the oldest.
    for work_id in sorted(known, key=lambda one: (one not in owned, one)):
        for pair in known[work_id].present():
            by_id.setdefault(pair, []).append(work_id)
    found: list[int | None] = []
    completed: dict[int, ProviderIds] = {}
    for one in ids:
        work_id, conflict = choose_work(one, by_id)
        if work_id is None and not conflict and one.present():
            values = {"media_type": media_type, **asdict(one)}
            work_id = int(connection.execute(insert(works).values(values).returning(works.c.work_id)).scalar_one())
            known[work_id] = ProviderIds()
        if work_id is not None and work_id not in owned:
            filled = known[work_id].filled_from(one)
            if filled != known[work_id]:
                known[work_id] = completed[work_id] = filled
                for pair in filled.present():
                    by_id.setdefault(pair, []).append(work_id)
        found.append(work_id)
    rows = [{"work_id": work_id, "media_type": media_type, **asdict(filled)} for work_id, filled in completed.items()]
    upsert(connection, works, rows, columns=("work_id", "media_type", *ID_NAMES))
    return found


def works_sharing_ids(connection: Connection, media_type: MediaType, ids: Sequence[ProviderIds]) -> set[int]:
    """Return all works that have any of these ids."""
    return set(_works_with(connection, media_type, ids)[0]) if ids else set()


def complete_works(connection: Connection, media_type: MediaType, ids: Mapping[int, ProviderIds]) -> None:
    """Give works without copies the IMDb and TVDb ids that they lack, unless another work has the same one.

    Then the library finds them under any id that it may have. The caller holds the lock of the catalogue.
    """
    statement = """
        SELECT work_id, tmdb_id, imdb_id, tvdb_id FROM works w WHERE work_id = ANY(:works) AND media_type = :media_type
        AND NOT EXISTS (SELECT 1 FROM titles t WHERE t.work_id = w.work_id) ORDER BY work_id"""
    rows = execute(connection, statement, works=list(ids), media_type=media_type).all()
    known, _ = _works_with(connection, media_type, [ids[row.work_id] for row in rows])
    holders: dict[tuple[str, int | str], set[int]] = {}
    for work_id, its in known.items():
        for pair in its.present():
            holders.setdefault(pair, set()).add(work_id)
    for row in rows:
        stored = ProviderIds(row.tmdb_id, row.imdb_id, row.tvdb_id)
        had = dict(stored.present())
        gained = {
            name: value
            for name, value in ids[row.work_id].present()
            if name != "tmdb_id" and name not in had and holders.get((name, value), set()) <= {row.work_id}
        }
        if gained:
            connection.execute(works.update().where(works.c.work_id == row.work_id).values(gained))
            for pair in gained.items():
                holders.setdefault(pair, set()).add(row.work_id)


def _works_with(
    connection: Connection, media_type: MediaType, ids: Sequence[ProviderIds]
) -> tuple[dict[int, ProviderIds], set[int]]:
    """Return the works that have any of these ids, with all their ids, and which of them the library has, or had."""
    statement = """
        SELECT i.work_id, i.tmdb_id, i.imdb_id, i.tvdb_id,
        EXISTS (SELECT 1 FROM titles t WHERE t.work_id = i.work_id) AS owned FROM work_ids i
        WHERE media_type = :media_type
        AND (tmdb_id = ANY(:tmdb_id) OR imdb_id = ANY(:imdb_id) OR tvdb_id = ANY(:tvdb_id))"""
    values = {
        name: list({dict(one.present())[name] for one in ids if name in dict(one.present())}) for name in ID_NAMES
    }
    rows = execute(connection, statement, media_type=media_type, **values).all()
    known = {row.work_id: ProviderIds(row.tmdb_id, row.imdb_id, row.tvdb_id) for row in rows}
    return known, {row.work_id for row in rows if row.owned}
