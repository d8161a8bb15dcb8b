"""A library that a test fills by hand or syncs from a simulated server, and PostgreSQL servers to hold it."""

from __future__ import annotations

import logging
import tempfile
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import Connection, create_engine, make_url, text

from aperture_dagster.catalogue.stored_users import write_users
from aperture_dagster.catalogue.sync.episodes import EpisodeSync
from aperture_dagster.catalogue.sync.libraries import choose_libraries, read_items
from aperture_dagster.catalogue.sync.merge import CatalogueResult, Coverage, RemovalRules, write_libraries
from aperture_dagster.catalogue.sync.titles import TitleSync
from aperture_dagster.enrichment.tmdb.titles import parse_title
from aperture_dagster.media_server.records import ItemState, Listing, ServerEpisode, ServerLibrary, ServerTitle
from aperture_dagster.postgres.cluster import ROLE
from aperture_dagster.postgres.connection import close_engine
from aperture_dagster.postgres.database import Database
from aperture_dagster.postgres.migrate import forget_schema
from aperture_dagster.settings.services import MediaServerSettings
from aperture_dagster_tests.clusters import copy_clusters
from aperture_dagster_tests.holders import Holder, holder_factory, temporary_data_directory

if TYPE_CHECKING:
    from aperture_dagster.media_server.jellyfin.reader import JellyfinReader

NOW = datetime(2026, 5, 17, 15, 30, tzinfo=UTC)
FILMS = ServerLibrary("films", "Films", "movies")
SHOWS = ServerLibrary("shows", "Shows", "tvshows")
RULES = RemovalRules(accepted=False)
ACCEPTED = RemovalRules(accepted=True)


class Shelf:
    """A database under test: write listings and states of a server, and read the tables."""

    def __init__(self, database: Database) -> None:
        self.database = database

    @contextmanager
    def open(self) -> Iterator[Connection]:
        with self.database.transaction() as connection:
            yield connection

    def rows(self, statement: str, **parameters: Any) -> list[dict[str, Any]]:
        with self.open() as connection:
            return [dict(row) for row in connection.execute(text(statement), parameters).mappings()]

    def value(self, statement: str, **parameters: Any) -> Any:
        (row,) = self.rows(statement, **parameters)
        return next(iter(row.values()))

    def do(self, statement: str, **parameters: Any) -> int:
        with self.open() as connection:
            return connection.execute(text(statement), parameters).rowcount

    # Listings and states by hand

    def films(
        self, *titles: ServerTitle, rules: RemovalRules = RULES, library: ServerLibrary = FILMS, **scope: Any
    ) -> CatalogueResult:
        return self.listing("movie", {library: titles}, rules, **scope)

    def series(self, *titles: ServerTitle, rules: RemovalRules = RULES, **scope: Any) -> CatalogueResult:
        return self.listing("series", {SHOWS: titles}, rules, **scope)

    def episodes(self, *episodes: ServerEpisode, rules: RemovalRules = RULES, **scope: Any) -> CatalogueResult:
        return self.listing("episode", {SHOWS: episodes}, rules, **scope)

    def listing(
        self, kind: Any, items: Mapping[ServerLibrary, Sequence[Any]], rules: RemovalRules = RULES, **scope: Any
    ) -> CatalogueResult:
        """Sync items of one kind, by library. The listings are complete unless ``scope`` says otherwise."""
        with self.database.connection() as connection:
            with connection.begin():
                write_libraries(connection, items)
            sync = EpisodeSync(connection) if kind == "episode" else TitleSync(connection, kind)
            for library, page in items.items():
                sync.add(library, page)
            return sync.merge(Coverage(**{"complete": {one.library_id for one in items}} | scope), rules)

    def users(self, *names: str) -> None:
        with self.open() as connection:
            write_users(connection, map(user_row, names), still_there=names, key_for=lambda name, *_: name)

    def connect_to_trakt(self, user: str) -> None:
        """Give a user an account on Trakt, without one there."""
        self.do(
            "INSERT INTO trakt_accounts (user_id, access_token, refresh_token, issued_at, expires_at, installation_id, "
            "state, connected_at) VALUES (:user, '', '', now(), now(), '', 'connected', now())",
            user=user,
        )

    def history(self, user: str, *states: ItemState, now: datetime = NOW) -> Any:
        from aperture_dagster.publishing.copies.originals import record_states

        with self.open() as connection:
            return record_states(connection, user, states, now=now)

    def item(self, server_item_id: str) -> dict[str, Any]:
        (row,) = self.rows(
            "SELECT item_id, work_id, removed_at FROM titles WHERE server_item_id = :id UNION ALL "
            "SELECT item_id, work_id, removed_at FROM episodes WHERE server_item_id = :id",
            id=server_item_id,
        )
        return row

    # The real client against a stand-in

    def sync(
        self, server: JellyfinReader, *, rules: RemovalRules = RULES, exclude: Iterable[str] = ()
    ) -> dict[str, CatalogueResult]:
        """Sync films, series and episodes, like the assets do."""
        return {kind: self._sync(server, kind, rules, set(exclude)) for kind in ("movie", "series", "episode")}

    def _sync(self, server: JellyfinReader, kind: Any, rules: RemovalRules, exclude: set[str]) -> CatalogueResult:
        settings = MediaServerSettings.model_construct(libraries=(), exclude_libraries=tuple(exclude))
        libraries = choose_libraries(server.libraries(), settings, kind)
        log, accept = logging.getLogger(__name__), rules.accepted
        with self.database.connection() as connection:
            read = read_items(server, connection, libraries, accept_removals=accept, log=log)
        if read.failure is not None:
            raise read.failure
        return read.result

    def read_history(self, server: JellyfinReader, user_id: str, now: datetime) -> int:
        """Read a user's whole history; return the number of rows written."""
        from aperture_dagster.publishing.copies.originals import record_states

        written = 0
        for page in server.all_states(user_id, Listing()):
            with self.open() as connection:
                result = record_states(connection, user_id, page, now=now)
            written += result.states.written + result.plays
        return written


def user_row(name: str) -> dict[str, Any]:
    return {
        "user_id": name, "name": name, "email": None, "email_source": None, "is_administrator": False,
        "is_hidden": False, "is_disabled": False, "max_parental_rating": None, "all_libraries": True,
        "library_ids": [], "blocked_tags": [], "allowed_tags": [], "open_library_ids": [], "excluded_folders": [],
        "last_activity_at": None,
    }  # fmt: skip


def film(number: int, **facts: Any) -> ServerTitle:
    usual = {"title": f"Film {number}", "year": 2000, "tmdb_id": number, "path": f"/films/{number}.mkv"}
    return ServerTitle(f"film-{number}", **usual | {"added_at": NOW} | facts)


def played(server_item_id: str, **facts: Any) -> ItemState:
    usual: dict[str, Any] = {
        "is_episode": False, "played": True, "play_count": 1, "position_share": 0.0, "last_played_at": NOW,
        "favorite": False, "rating": None,
    }  # fmt: skip
    return ItemState(server_item_id, **usual | facts)


def list_rows(user: str, items: Iterable[Mapping[str, Any]], **facts: Any) -> list[dict[str, Any]]:
    """Return the rows of a list of films for a user, in order, as tests of lists write them."""
    usual = {"user_id": user, "media_type": "movie", "components": {}, "because": [], "is_cold": False}
    return [
        usual | {"rank": rank, "score": 1 / rank, "work_id": one["work_id"], "item_id": one["item_id"]} | facts
        for rank, one in enumerate(items, start=1)
    ]


def pick_rows(day: date, items: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return the rows of the Top Picks of films of a day, in order."""
    usual = {"day": day, "viewers": 2, "plays": 3, "completion": 1.0, "relaxed": False, "source": "local"}
    rows = list_rows("", items)
    return [usual | {name: row[name] for name in ("media_type", "rank", "score", "work_id", "item_id")} for row in rows]


def tmdb_row(shelf: Shelf, number: int, **facts: Any) -> dict[str, Any]:
    """Return a row of TMDb metadata for a film on the shelf."""
    answer = {"id": number, "title": f"TMDb {number}", "overview": "Said.", "vote_average": 7, "vote_count": 3} | facts
    return {"work_id": shelf.item(f"film-{number}")["work_id"]} | parse_title(answer, "movie")


@pytest.fixture(scope="session")
def clusters() -> Iterator[Path]:
    """Return the folder of the clusters that tests copy."""
    with tempfile.TemporaryDirectory(prefix="aperture-clusters-") as folder:
        yield Path(folder)


@pytest.fixture
def folder(clusters: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Yield a path for a new cluster."""
    copy_clusters(monkeypatch, clusters)
    with temporary_data_directory() as made:
        yield made


@pytest.fixture
def hold(folder: Path) -> Iterator[Callable[..., Holder]]:
    """Yield a function that starts other processes that use the server in ``folder``."""
    with holder_factory(folder) as make:
        yield make


@pytest.fixture
def shelf(database: Database) -> Shelf:
    return Shelf(database)


@pytest.fixture
def admin(postgres: str) -> Iterator[Callable[..., Any]]:
    """Return a function that runs statements on the server as its superuser."""
    engine = create_engine(postgres, isolation_level="AUTOCOMMIT")

    def execute(statement: str, database: str | None = None) -> Any:
        target = engine if database is None else create_engine(engine.url.set(database=database))
        with target.connect() as connection:
            result = connection.execute(text(statement))
            return result.scalar() if result.returns_rows else None

    yield execute
    engine.dispose()


@pytest.fixture
def empty(postgres: str, admin: Callable[..., Any]) -> Iterator[str]:
    """Create an empty database; yield its URL in the form that an operator would use."""
    name = f"empty_{uuid.uuid4().hex[:12]}"
    admin(f"CREATE DATABASE {name} OWNER {ROLE}")
    url = make_url(postgres).set(database=name, username=ROLE).render_as_string(hide_password=False)
    yield url.replace("+psycopg", "")
    close_engine(url)
    forget_schema(url)
    admin(f"DROP DATABASE {name} WITH (FORCE)")
    admin(f"DROP DATABASE IF EXISTS {name}_dagster WITH (FORCE)")


@pytest.fixture
def connect() -> Iterator[Callable[..., JellyfinReader]]:
    """Return a function that makes a real client of a running stand-in."""
    from aperture_dagster.media_server.jellyfin.reader import JellyfinReader

    made: list[JellyfinReader] = []

    def connecting(simulator: Any, **how: Any) -> JellyfinReader:
        made.append(
            JellyfinReader(
                simulator.jellyfin_url, "demo-jellyfin-key", **{"attempts": 2, "first_wait_seconds": 0.01} | how
            )
        )
        return made[-1]

    yield connecting
    for one in made:
        one.close()
