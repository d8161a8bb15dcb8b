"""A household with lists: Anna, who operates the server, and Ben, whose policies a test can change."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

from aperture_dagster.catalogue.stored_users import write_users
from aperture_dagster.media_server.records import ServerEpisode, ServerTitle
from aperture_dagster_tests.databases import fill
from aperture_dagster_tests.shelf import NOW, Shelf, film, user_row

RECOMMENDATION = """
    INSERT INTO recommendations (user_id, media_type, rank, work_id, item_id, score, components, because, is_cold,
    listed_since)
    VALUES (:user, :media_type, :rank, :work, :item, 0.5, '{"similarity": 1}', :because, false, '2026-05-01')"""
PICK = """
    INSERT INTO top_picks (day, media_type, rank, work_id, item_id, viewers, plays, completion, score, relaxed, source)
    VALUES (:day, 'movie', :rank, :work, :item, 2, 3, 1, 0.5, false, 'local')"""
WATCHING = """
    INSERT INTO shows_you_watch (user_id, work_id, rank, item_id, episodes_played, episodes_out, next_item_id,
    next_season, next_number, next_title, behind, next_air_date)
    VALUES (:user, :work, 1, :item, 2, 4, :next, 1, 3, 'Three', 2, :airs)"""
SUGGESTION = """
    INSERT INTO discovery_pool (work_id, media_type, tmdb_id, wanted_at, fetched_at, title, release_date,
    certifications, providers, genres)
    VALUES (:work, 'movie', :tmdb, now(), now(), :title, '1999-01-01', :certifications, :providers, '{Drama}')"""
CANDIDATE = """
    INSERT INTO discovery_candidates (user_id, media_type, rank, work_id, score, components, because, listed_since)
    VALUES (:user, 'movie', :rank, :work, 0.5, '{"similarity": 1}', :because, '2026-05-01')"""


class Home:
    """The tables behind the pages. Users have the ids of a media server, or else their names."""

    def __init__(self, shelf: Shelf, ids: Mapping[str, str] | None = None) -> None:
        self.shelf, self._ids = shelf, ids or {}
        fill(shelf.database, ("home", *self._ids.values()), self._furnish)

    def _furnish(self) -> None:
        shelf = self.shelf
        rows = [user_row(name) | {"user_id": self._ids.get(name, name)} for name in ("Anna", "Ben")]
        with shelf.open() as connection:
            write_users(connection, rows, still_there=None, key_for=lambda name, *_: name)
        self.user("Anna", is_administrator=True)
        shelf.films(
            film(1, title="Alien & <Co>"), film(2, title="Heat", official_rating="R"),
            film(3, title="Up", official_rating="G", tags=("family",)), film(4, title="Solaris"),
        )  # fmt: skip
        shelf.series(ServerTitle("series-1", title="Dark", tmdb_id=70, path="/shows/Dark", official_rating="TV-14"))
        shelf.episodes(ServerEpisode("episode-3", "series-1", season=1, number=3, title="Three", path="/shows/Dark/3"))

    def user(self, name: str, **columns: Any) -> None:
        """Set columns of a user."""
        assigned = ", ".join(f"{one} = :{one}" for one in columns)
        self.shelf.do(f"UPDATE users SET {assigned} WHERE name = :name", name=name, **columns)

    def recommend(self, user: str, *numbers: int, because: Sequence[int] = (4,)) -> None:
        """Replace a user's films by these."""
        user = self._ids.get(user, user)
        self.shelf.do("DELETE FROM recommendations WHERE user_id = :user", user=user)
        liked = [self.shelf.item(f"film-{one}")["work_id"] for one in because]
        for rank, number in enumerate(numbers, start=1):
            self.shelf.do(
                RECOMMENDATION, user=user, media_type="movie", rank=rank, because=liked, **self._of(f"film-{number}")
            )

    def pick(self, *numbers: int) -> None:
        """Make today's Top Picks."""
        for rank, number in enumerate(numbers, start=1):
            self.shelf.do(PICK, day=NOW.date(), rank=rank, **self._of(f"film-{number}"))

    def watch(self, user: str) -> None:
        """Let a user watch the series."""
        airs, following = NOW.date() + timedelta(days=2), self.shelf.item("episode-3")["item_id"]
        self.shelf.do(WATCHING, user=self._ids.get(user, user), airs=airs, next=following, **self._of("series-1"))

    def suggest(self, user: str, title: str, certification: str, **providers: list[str]) -> None:
        """Suggest a film that is not in the library."""
        number = 1000 + self.shelf.value("SELECT count(*) FROM discovery_candidates")
        statement = "INSERT INTO works (media_type, tmdb_id) VALUES ('movie', :tmdb) RETURNING work_id"
        work = self.shelf.value(statement, tmdb=number)
        self.shelf.do(
            SUGGESTION, work=work, tmdb=number, title=title, certifications=json.dumps({"US": [certification]}),
            providers=json.dumps({"US": providers}),
        )  # fmt: skip
        self.shelf.do(
            CANDIDATE,
            user=self._ids.get(user, user),
            rank=number,
            work=work,
            because=[self.shelf.item("film-4")["work_id"]],
        )

    def _of(self, server_item_id: str) -> dict[str, Any]:
        item = self.shelf.item(server_item_id)
        return {"work": item["work_id"], "item": item["item_id"]}
