"""What imports wrote: plays of what the library has, what was seen elsewhere, and the imports themselves."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection

from aperture_dagster.catalogue.history.plays import forget_echoes
from aperture_dagster.catalogue.history_import.matching import Copy, Episode, NamedTitle, Titles
from aperture_dagster.catalogue.queries import read_titles_to_name
from aperture_dagster.catalogue.references import simplify
from aperture_dagster.postgres.bulk import storable
from aperture_dagster.postgres.queries import array_of, execute, lock_until_commit, read_rows, read_value


@dataclass(frozen=True, slots=True)
class SeenElsewhere:
    """What a user has seen of a title without a copy, or without an exact date.

    Attributes:
        work_id: None if only its name is known so far.
        times: viewings, of a series in episodes; 0: only a favourite, or a rating that waits for the title.
        rating: 1-10, while the title is not recognised.
        episode_imdb_id: of an episode whose series is not known.
    """

    work_id: int | None
    media_type: str | None
    title: str | None
    year: int | None
    times: int
    seen_at: datetime | None
    is_liked: bool = False
    rating: int | None = None
    rated_at: datetime | None = None
    episode_imdb_id: str | None = None


@dataclass(frozen=True, slots=True)
class Import:
    """A file that was imported for a user."""

    import_id: int
    user_id: str
    source: str
    file_name: str
    imported_at: datetime
    shares_ratings: bool
    figures: Mapping[str, int]
    later: Sequence[int] = ()


def read_known_titles(connection: Connection, decided: Mapping[NamedTitle, int]) -> Titles:
    """Read all titles that a row may mean; episodes are read when they are needed, while the connection is open."""
    statement = """
        SELECT DISTINCT ON (work_id) work_id, item_id, runtime_minutes FROM titles
        ORDER BY work_id, removed_at IS NOT NULL, item_id"""
    copies = {row.work_id: Copy(row.item_id, row.runtime_minutes) for row in execute(connection, statement)}
    return Titles(read_titles_to_name(connection), copies, lambda work: _read_episodes(connection, work), decided)


def _read_episodes(connection: Connection, work_id: int) -> list[Episode]:
    """Return a copy of each episode of a series; one file may hold several episodes."""
    statement = """
        SELECT season, number, coalesce(number_end, number) AS last, item_id, runtime_minutes, title FROM episodes
        WHERE work_id = :work AND season IS NOT NULL AND number IS NOT NULL
        ORDER BY removed_at IS NULL, item_id DESC"""
    return [
        Episode(row.season, number, row.title, Copy(row.item_id, row.runtime_minutes))
        for row in execute(connection, statement, work=work_id)
        for number in range(row.number, min(row.last, row.number + 99) + 1)
    ]


def works_of_items(connection: Connection, server_item_ids: Collection[str]) -> dict[str, int]:
    """Return the works of items of the media server."""
    statement = "SELECT server_item_id, work_id FROM items WHERE server_item_id = ANY(:ids)"
    rows = execute(connection, statement, ids=list(server_item_ids)) if server_item_ids else ()
    return {row.server_item_id: row.work_id for row in rows}


def known_plays(connection: Connection, user_id: str) -> dict[tuple[int, ...], list[datetime]]:
    """Return the dates of a user's finished plays, by what was played: a work, or a work with season and number."""
    statement = """
        SELECT p.work_id, p.is_episode, e.season, e.number, p.played_at FROM plays p
        LEFT JOIN episodes e USING (item_id) WHERE p.user_id = :user AND p.play_count > 0"""
    found: defaultdict[tuple[int, ...], list[datetime]] = defaultdict(list)
    for row in execute(connection, statement, user=user_id):
        subject = (row.work_id, row.season, row.number) if row.is_episode else (row.work_id,)
        found[subject].append(row.played_at)
    return dict(found)


def known_works(connection: Connection, user_id: str) -> set[int]:
    """Return the works of which the media server or an import says that a user has seen them, or some of them."""
    statement = """
        SELECT work_id FROM watch_state WHERE user_id = :user AND (played OR play_count > 0)
        UNION SELECT work_id FROM plays WHERE user_id = :user
        UNION SELECT work_id FROM seen_elsewhere WHERE user_id = :user AND work_id IS NOT NULL AND times > 0"""
    return set(execute(connection, statement, user=user_id).scalars())


def liked_works(connection: Connection, user_id: str) -> set[int]:
    """Return the works that imports marked as a user's favourites."""
    statement = "SELECT work_id FROM seen_elsewhere WHERE user_id = :user AND is_liked AND work_id IS NOT NULL"
    return set(execute(connection, statement, user=user_id).scalars())


def known_names(connection: Connection, user_id: str) -> set[NamedTitle]:
    """Return the titles that are kept for a user by their names."""
    statement = """
        SELECT title, year, media_type FROM seen_elsewhere
        WHERE user_id = :user AND work_id IS NULL AND episode_imdb_id IS NULL"""
    rows = execute(connection, statement, user=user_id)
    return {NamedTitle(simplify(row.title or ""), row.year, row.media_type) for row in rows}


def known_episodes(connection: Connection, user_id: str) -> set[str]:
    """Return the ids at IMDb of episodes that are kept for a user, whether their series is known by now or not."""
    statement = "SELECT episode_imdb_id FROM seen_elsewhere WHERE user_id = :user AND episode_imdb_id IS NOT NULL"
    return set(execute(connection, statement, user=user_id).scalars())


def create_import(
    connection: Connection, user_id: str, *, source: str, file_name: str, shares_ratings: bool, now: datetime
) -> int:
    """Note that a file is being imported, and return its number."""
    statement = """
        INSERT INTO history_imports (user_id, source, file_name, shares_ratings, imported_at)
        VALUES (:user, :source, :name, :shares, :now) RETURNING import_id"""
    name = storable(file_name)[:200]
    values = {"user": user_id, "source": source, "name": name, "shares": shares_ratings, "now": now}
    return execute(connection, statement, **values).scalar_one()


def finish_import(connection: Connection, import_id: int, figures: Mapping[str, int], later: Sequence[int]) -> None:
    """Note what an import wrote; ``later``: works that it put on the list of what is for later."""
    statement = "UPDATE history_imports SET figures = CAST(:figures AS jsonb), later = :later WHERE import_id = :id"
    execute(connection, statement, figures=json.dumps(dict(figures)), later=list(later), id=import_id)


def read_imports(connection: Connection, user_id: str) -> list[Import]:
    """Return what was imported for a user, the latest first."""
    statement = """
        SELECT import_id, user_id, source, file_name, imported_at, shares_ratings, figures, later FROM history_imports
        WHERE user_id = :user ORDER BY import_id DESC"""
    return [Import(**row) for row in read_rows(connection, statement, user=user_id)]


def write_plays(connection: Connection, user_id: str, plays: Sequence[Mapping[str, Any]], import_id: int) -> int:
    """Write plays of a user, and return how many; those that the media server reported meanwhile go again.

    The caller holds the lock of the history.
    """
    lock_until_commit(connection, "catalogue", shared=True)
    # A title may have become another work since it was matched.
    statement = """
        INSERT INTO plays (user_id, item_id, played_at, work_id, is_episode, play_count, completion, imported_from,
          import_id)
        SELECT r.user_id, r.item_id, r.played_at, coalesce(e.work_id, t.work_id), r.is_episode, 1, 1, r.imported_from,
          :import
        FROM jsonb_populate_recordset(NULL::plays, CAST(:rows AS jsonb)) r
        LEFT JOIN episodes e USING (item_id) LEFT JOIN titles t USING (item_id)
        WHERE coalesce(e.work_id, t.work_id) IS NOT NULL ON CONFLICT DO NOTHING"""
    rows = [{**play, "user_id": user_id} for play in plays]
    written = execute(connection, statement, rows=json.dumps(rows, default=str), **{"import": import_id}).rowcount
    forget_echoes(connection, user_id, [play["item_id"] for play in plays])
    return written


def write_seen(connection: Connection, user_id: str, seen: Sequence[SeenElsewhere], import_id: int) -> None:
    """Write what a user has seen elsewhere."""
    names = SeenElsewhere.__slots__
    columns = ", ".join(names)
    statement = f"""
        INSERT INTO seen_elsewhere (user_id, import_id, {columns})
        SELECT :user, :import, {columns} FROM jsonb_populate_recordset(NULL::seen_elsewhere, CAST(:rows AS jsonb))"""
    rows = [{name: getattr(entry, name) for name in names} for entry in seen]
    if rows:
        execute(connection, statement, user=user_id, rows=json.dumps(rows, default=str), **{"import": import_id})


def delete_import(connection: Connection, user_id: str, import_id: int) -> bool:
    """Delete an import of a user with its plays and what was seen elsewhere; return whether there was one."""
    statement = "SELECT 1 FROM history_imports WHERE import_id = :id AND user_id = :user"
    if read_value(connection, statement, id=import_id, user=user_id) is None:
        return False
    for table in ("plays", "seen_elsewhere"):
        execute(
            connection, f"DELETE FROM {table} WHERE import_id = :id AND user_id = :user", id=import_id, user=user_id
        )
    execute(connection, "DELETE FROM history_imports WHERE import_id = :id", id=import_id)
    return True


def unrecognised(connection: Connection) -> list[dict[str, Any]]:
    """Return what is kept by its name only, of all users."""
    statement = """
        SELECT seen_id, user_id, import_id, media_type, title, year, episode_imdb_id, rating, rated_at
        FROM seen_elsewhere WHERE work_id IS NULL ORDER BY seen_id"""
    return read_rows(connection, statement)


def recognise(connection: Connection, works: Mapping[int, int]) -> None:
    """Note the works of what was kept by its name only, by the number of the row."""
    statement = """
        UPDATE seen_elsewhere s SET work_id = f.work_id FROM unnest(CAST(:rows AS bigint[]), CAST(:works AS bigint[]))
        AS f (seen_id, work_id) WHERE s.seen_id = f.seen_id AND s.work_id IS NULL"""
    if works:
        execute(connection, statement, rows=array_of(list(works)), works=array_of(list(works.values())))
