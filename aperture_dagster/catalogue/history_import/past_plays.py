"""Earlier plays from files of other programs: which titles they mean, what is new of them, and the log of plays."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import Connection

from aperture_dagster.catalogue.history.plays import SAME_PLAY, forget_echoes
from aperture_dagster.catalogue.history.progress import lock_history
from aperture_dagster.catalogue.history_import.rows import NOT_FINISHED, WITHOUT_DATE, PastRow, SkippedRow
from aperture_dagster.catalogue.people import User
from aperture_dagster.catalogue.queries import read_titles_to_name
from aperture_dagster.catalogue.references import KnownTitle, match_users, simplify
from aperture_dagster.postgres.database import Database
from aperture_dagster.postgres.queries import execute, lock_until_commit

FINISHED_SHARE = 0.8
"""Share of a title's length from which it counts as watched to the end, 0-1."""


EARLIEST_YEAR = 1980


EXAMPLES = 5


MOST_REASONS = 50


@dataclass(slots=True)
class UserImport:
    """What the files hold for a user: plays to import or imported, plays that are known, and ratings by work."""

    name: str
    plays: int = 0
    known: int = 0
    ratings: dict[int, PastRow] = field(default_factory=dict)


class _LeftOut(Exception):
    """A row that is not imported; the message says why."""


@dataclass(frozen=True, slots=True)
class _Copy:
    item_id: int
    work_id: int
    minutes: int | None


class PastPlays:
    """Takes rows of files in batches, matches them to titles, and writes the plays that are new if ``write``.

    Args:
        database: the product's.
        users: all users.
        names: whom a name or id in the files means, by it in lower case; ``None`` for files without one.
        write: whether plays are written, or only counted.
        now: later rows have a wrong date.
    """

    def __init__(
        self, database: Database, users: Sequence[User], names: Mapping[str | None, User], *, write: bool, now: datetime
    ) -> None:
        self._database, self._users, self._write, self._now = database, users, write, now
        self._names: dict[str | None, User | None] = dict(names)
        with database.transaction() as connection:
            self._titles = _Titles(connection)
        self._known: dict[str, dict[tuple[int, ...], list[datetime]]] = {}
        self.found: dict[str, UserImport] = {}
        """By the user's id."""
        self.left_out: Counter[str] = Counter()
        """How many rows were left out, by the reason."""
        self.examples: defaultdict[str, list[str]] = defaultdict(list)

    def take(self, rows: Iterable[PastRow | SkippedRow]) -> None:
        """Match a batch of rows and, where that is wanted, write what is new of it."""
        rows = list(rows)
        new: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)
        with self._database.transaction() as connection:
            self._titles.read_items(connection, {row.item_id for row in rows if isinstance(row, PastRow)})
            for row in rows:
                try:
                    if isinstance(row, SkippedRow):
                        raise _LeftOut(row.reason)
                    user, play = self._resolve(connection, row)
                except _LeftOut as reason:
                    self._leave_out(str(reason), row.where if isinstance(row, SkippedRow) else row.label)
                else:
                    new[user.user_id] += [play] if play is not None else []
        if self._write:
            for user_id, plays in sorted(new.items()):
                with self._database.transaction() as connection:
                    _write_plays(connection, user_id, plays)

    def _resolve(self, connection: Connection, row: PastRow) -> tuple[User, dict[str, Any] | None]:
        """Return whose a row is and, if it is a play that is new, its values; raises :class:`_LeftOut`."""
        user = self._user(row.user)
        if row.sign == "wanted":
            raise _LeftOut("on a watchlist")
        if row.at is None:
            raise _LeftOut(WITHOUT_DATE)
        # Programs write the beginning of time for a date that they do not know.
        if row.at.year < EARLIEST_YEAR:
            raise _LeftOut(WITHOUT_DATE)
        if row.at > self._now:
            raise _LeftOut("dated in the future")
        found = self.found.setdefault(user.user_id, UserImport(user.name))
        if row.rating is not None:
            work_id = self._titles.find(row).work_id
            before = found.ratings.get(work_id)
            if before is None or before.at is None or before.at < row.at:
                found.ratings[work_id] = row
            return user, None
        copy, subject = self._titles.copy(connection, row)
        if row.seconds is not None and copy.minutes is None:
            raise _LeftOut("of unknown length")
        if row.seconds is not None and row.seconds < FINISHED_SHARE * 60 * (copy.minutes or 0):
            raise _LeftOut(NOT_FINISHED)
        if user.user_id not in self._known:
            self._known[user.user_id] = _known_plays(connection, user.user_id)
        moments = self._known[user.user_id].setdefault(subject, [])
        if any(abs(row.at - one) <= SAME_PLAY for one in moments):
            found.known += 1
            return user, None
        moments.append(row.at)
        found.plays += 1
        play = {
            "user_id": user.user_id, "item_id": copy.item_id, "played_at": row.at.isoformat(),
            "is_episode": row.number is not None, "imported_from": row.source,
        }  # fmt: skip
        return user, play

    def _user(self, name: str | None) -> User:
        key = name.casefold() if name is not None else None
        if key not in self._names:
            found = match_users(name, self._users) if name else []
            self._names[key] = found[0] if len(found) == 1 else None
        user = self._names[key]
        if user is None and name is None:
            raise _LeftOut("the file does not say whose it is: --user NAME")
        if user is None:
            raise _LeftOut(f"nobody here is called {name!r}: --user {name}=NAME")
        return user

    def _leave_out(self, reason: str, example: str) -> None:
        if reason not in self.left_out and len(self.left_out) >= MOST_REASONS:
            reason = "for yet another reason"
        self.left_out[reason] += 1
        if len(self.examples[reason]) < EXAMPLES and example not in self.examples[reason]:
            self.examples[reason].append(example)


class _Titles:
    """The titles and episodes that a row may mean."""

    def __init__(self, connection: Connection) -> None:
        statement = """
            SELECT DISTINCT ON (work_id) work_id, item_id, runtime_minutes FROM titles
            ORDER BY work_id, removed_at IS NOT NULL, item_id"""
        self._copies = {
            row.work_id: _Copy(row.item_id, row.work_id, row.runtime_minutes) for row in execute(connection, statement)
        }
        self._by_id: dict[tuple[str | None, str, int | str], KnownTitle] = {}
        self._by_name: defaultdict[tuple[str | None, str], list[KnownTitle]] = defaultdict(list)
        # Those of the library first.
        for one in sorted(read_titles_to_name(connection), key=lambda one: one.work_id not in self._copies):
            for name, value in one.ids.present():
                self._by_id.setdefault((one.media_type, name, value), one)
            for name in {simplify(name) for name in one.names}:
                self._by_name[one.media_type, name].append(one)
        self._episodes: dict[int, dict[tuple[int, int], _Copy]] = {}
        self._items: dict[str, int] = {}

    def read_items(self, connection: Connection, server_item_ids: Collection[str | None]) -> None:
        """Look up the works of items of the media server."""
        ids = [one for one in server_item_ids if one is not None]
        statement = "SELECT server_item_id, work_id FROM items WHERE server_item_id = ANY(:ids)"
        rows = execute(connection, statement, ids=ids) if ids else ()
        self._items = {row.server_item_id: row.work_id for row in rows}

    def find(self, row: PastRow) -> KnownTitle:
        """Return the title that a row is about: by an id, or else by its name and year; raises :class:`_LeftOut`."""
        for name, value in row.ids.present():
            if (known := self._by_id.get((row.media_type, name, value))) is not None:
                return known
        found = [
            one
            for one in self._by_name.get((row.media_type, simplify(row.title or "")), [])
            if not one.ids.contradicts(row.ids) and (row.year is None or not one.years or row.year in one.years)
        ]
        # An id of the media server may be that of another server, so it only decides between titles of that name.
        by_item = [one for one in found if one.work_id == self._items.get(row.item_id or "")]
        found = by_item or [one for one in found if one.work_id in self._copies] or found
        if not found:
            raise _LeftOut("not in the library")
        if len(found) > 1:
            raise _LeftOut("the library has several with that name")
        return found[0]

    def copy(self, connection: Connection, row: PastRow) -> tuple[_Copy, tuple[int, ...]]:
        """Return what was played, and what all copies of it have in common; raises :class:`_LeftOut`."""
        work_id = self.find(row).work_id
        if work_id not in self._copies:
            raise _LeftOut("not in the library")
        if row.media_type == "movie":
            return self._copies[work_id], (work_id,)
        if work_id not in self._episodes:
            self._episodes[work_id] = _read_episodes(connection, work_id)
        place = (row.season if row.season is not None else -1, row.number or 0)
        if place not in self._episodes[work_id]:
            raise _LeftOut("an episode that is not in the library")
        return self._episodes[work_id][place], (work_id, *place)


def _read_episodes(connection: Connection, work_id: int) -> dict[tuple[int, int], _Copy]:
    """Return a copy of each episode of a series by season and number; one file may hold several episodes."""
    statement = """
        SELECT season, number, coalesce(number_end, number) AS last, item_id, runtime_minutes FROM episodes
        WHERE work_id = :work AND season IS NOT NULL AND number IS NOT NULL
        ORDER BY removed_at IS NULL, item_id DESC"""
    return {
        (row.season, number): _Copy(row.item_id, work_id, row.runtime_minutes)
        for row in execute(connection, statement, work=work_id)
        for number in range(row.number, min(row.last, row.number + 99) + 1)
    }


def _known_plays(connection: Connection, user_id: str) -> dict[tuple[int, ...], list[datetime]]:
    """Return the dates of a user's finished plays, by what was played."""
    statement = """
        SELECT p.work_id, p.is_episode, e.season, e.number, p.played_at FROM plays p
        LEFT JOIN episodes e USING (item_id) WHERE p.user_id = :user AND p.play_count > 0"""
    found: defaultdict[tuple[int, ...], list[datetime]] = defaultdict(list)
    for row in execute(connection, statement, user=user_id):
        subject = (row.work_id, row.season, row.number) if row.is_episode else (row.work_id,)
        found[subject].append(row.played_at)
    return dict(found)


def _write_plays(connection: Connection, user_id: str, plays: Sequence[Mapping[str, Any]]) -> None:
    """Write plays of a user; those that the media server reported meanwhile go again."""
    lock_history(connection, user_id)
    lock_until_commit(connection, "catalogue", shared=True)
    # A title may have become another work since it was matched.
    statement = """
        INSERT INTO plays (user_id, item_id, played_at, work_id, is_episode, play_count, completion, imported_from)
        SELECT r.user_id, r.item_id, r.played_at, coalesce(e.work_id, t.work_id), r.is_episode, 1, 1, r.imported_from
        FROM jsonb_populate_recordset(NULL::plays, CAST(:rows AS jsonb)) r
        LEFT JOIN episodes e USING (item_id) LEFT JOIN titles t USING (item_id) ON CONFLICT DO NOTHING"""
    execute(connection, statement, rows=json.dumps(plays))
    forget_echoes(connection, user_id, [play["item_id"] for play in plays])
