"""A home with a library whose users rate it here, on the media server and on Trakt."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import Connection

from aperture_dagster.catalogue.people import User
from aperture_dagster.catalogue.stored_users import read_users
from aperture_dagster.media_server.records import ItemState, ServerTitle
from aperture_dagster.postgres.database import Database
from aperture_dagster.publishing.copies.originals import record_states
from aperture_dagster.ratings.in_force import ratings_in_force
from aperture_dagster.ratings.outbox import rate_here
from aperture_dagster.trakt.sync import RatingsReport, RatingsSync
from aperture_dagster_tests.killing import Killed
from aperture_dagster_tests.shelf import Shelf
from aperture_dagster_tests.trakt.trakt_home import FILMS, SHOWS, TraktHome

log = logging.getLogger("ratings")


class KillableDatabase(Database):
    """A database whose process ends before a transaction, counted from 1."""

    def __init__(self, settings: Any, kill_at: int | None) -> None:
        super().__init__(settings)
        self.left = kill_at

    def tick(self) -> None:
        if self.left is not None:
            self.left -= 1
            if self.left <= 0:
                raise Killed

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        self.tick()
        with super().transaction() as connection:
            yield connection


class KillableTrakt:
    """A client whose process ends before or after a request, counted with the transactions of its database."""

    def __init__(self, client: Any, database: KillableDatabase) -> None:
        self._client, self._database = client, database

    def __getattr__(self, name: str) -> Any:
        whole = getattr(self._client, name)

        def call(*arguments: Any) -> Any:
            self._database.tick()
            answer = whole(*arguments)
            self._database.tick()
            return answer

        return call


class RatedHome:
    """Ratings of users of a :class:`TraktHome`. Films and series are named by their keys, such as ``movie:1``."""

    def __init__(self, home: TraktHome) -> None:
        self.home, self.state = home, home.state
        self.shelf = Shelf(home.database)
        titles = [(one.media_type, ServerTitle(one.key, one.title, **_ids(one))) for one in (*FILMS, *SHOWS)]
        self.shelf.films(*(one for media_type, one in titles if media_type == "movie"))
        self.shelf.series(*(one for media_type, one in titles if media_type == "series"))
        rows = self.shelf.rows("SELECT server_item_id, work_id FROM titles")
        self.works: dict[str, int] = {row["server_item_id"]: row["work_id"] for row in rows}
        # Dates on Trakt have whole seconds.
        home.clock.moment = home.clock.moment.replace(microsecond=0)

    def user(self, user: str) -> User:
        with self.home.database.transaction() as connection:
            return next(one for one in read_users(connection) if one.user_id == user)

    # Edits

    def rate(self, user: str, key: str, rating: int | None) -> bool:
        """Rate on the command line, or take a rating back."""
        with self.home.database.transaction() as connection:
            return rate_here(connection, user, self.works[key], rating, now=self.home.clock.now())

    def rate_on_server(self, user: str, key: str, rating: float | None) -> None:
        """Rate on the media server, and read that."""
        self.rate_all_on_server(user, [key], rating)

    def rate_all_on_server(self, user: str, keys: Iterable[str], rating: float | None) -> None:
        """Rate some titles alike on the media server, and read that."""
        states = [ItemState(key, rating=rating) for key in keys]
        with self.home.database.transaction() as connection:
            record_states(connection, user, states, now=self.home.clock.now())

    def rate_on_trakt(self, user: str, key: str, rating: int | None, *, days_ago: float = 0) -> None:
        """Rate on Trakt's site, or take a rating back."""
        at = self.home.clock.now() - timedelta(days=days_ago)
        if rating is not None:
            self.state.trakt_rate(user, key, rating, rated_at=at)
        elif key in self.state.trakt_ratings(user):
            self.state.trakt_unrate(user, key, at=at)

    # Syncs

    def sync(self, user: str = "ada", **how: Any) -> RatingsReport:
        """Sync once."""
        return self._sync(user, self.home.database, **how)

    def sync_until(self, user: str, kill_at: int | None) -> bool:
        """Sync, and end before a step; return whether it got that far."""
        try:
            self._sync(user, KillableDatabase(self.home.settings, kill_at))
        except Killed:
            return True
        return False

    def _sync(self, user: str, database: Database, **how: Any) -> RatingsReport:
        with self.home.accounts.open(user) as client:
            trakt: Any = KillableTrakt(client, database) if isinstance(database, KillableDatabase) else client
            return RatingsSync(database, self.home.clock, self.user(user), trakt, log, **how).run()

    # Results

    def here(self, user: str = "ada") -> dict[str, tuple[int | None, datetime]]:
        """Return what is in force here: rating and date by key."""
        keys = {work: key for key, work in self.works.items()}
        with self.home.database.transaction() as connection:
            found = ratings_in_force(connection, user)
        return {keys[work]: (one.value, one.rated_at) for work, one in found.items()}

    def values(self, user: str = "ada") -> dict[str, int]:
        return {key: value for key, (value, _) in self.here(user).items() if value is not None}

    def there(self, user: str = "ada") -> dict[str, tuple[int, datetime]]:
        """Return what is on Trakt."""
        found = self.state.trakt_ratings(user)
        return {
            key: (one["rating"], datetime.fromisoformat(one["rated_at"]).astimezone(UTC)) for key, one in found.items()
        }

    def values_there(self, user: str = "ada") -> dict[str, int]:
        return {key: value for key, (value, _) in self.there(user).items()}

    def pushed(self, user: str = "ada") -> Sequence[dict[str, Any]]:
        return self.state.trakt_pushed(user)

    def outbox(self) -> list[dict[str, Any]]:
        return self.shelf.rows("SELECT * FROM rating_outbox WHERE user_id = 'ada' ORDER BY work_id")

    def tables(self) -> list[Any]:
        """Return everything that is stored of ratings."""
        return [
            self.shelf.rows(f"SELECT * FROM {table} ORDER BY 1, 2, 3")
            for table in ("ratings", "trakt_ratings", "rating_outbox", "rating_changes")
        ]


def _ids(title: Any) -> dict[str, Any]:
    return {"tmdb_id": title.tmdb_id, "imdb_id": title.imdb_id, "tvdb_id": title.tvdb_id}
