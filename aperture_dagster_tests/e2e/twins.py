"""Two homes on one server: one with faults and one without, which must end with the same data."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import dagster as dg
from sqlalchemy import create_engine, text
from sqlalchemy.engine import make_url

from aperture_dagster.partitions import USERS
from aperture_dagster.settings import load_settings
from aperture_dagster.simulator.catalogue import Item
from aperture_dagster.simulator.emby.ids import item_number
from aperture_dagster.simulator.faults import FaultRule
from aperture_dagster.simulator.server import RunningSimulator
from aperture_dagster.simulator.world import Play, World, WorldUser
from aperture_dagster_tests.e2e.worlds import small_world
from aperture_dagster_tests.household import Household, failures

JOBS = ("sync_users", "sync_movies", "sync_series", "sync_watch_history", "enrich_metadata")
# Messages to the operator have to fit into a line or two.
LONGEST_SENTENCE = 400
PAGE = 8
NAMES = {"jellyfin": "Jellyfin", "emby": "Emby"}

NEW_TO_TMDB = "SELECT work_id FROM titles WHERE tmdb_id % 2 = 0"
# State of the services, not their data.
IGNORED_TABLES = ("services", "quota", "merges")

Portrait = dict[str, Counter[tuple[Any, ...]]]


class Twins:
    """A troubled home and an undisturbed one, both filled from the server at first."""

    def __init__(
        self, simulator: RunningSimulator, world: World, server: str, troubled: Household, undisturbed: Household
    ) -> None:
        self.simulator = simulator
        self.world = world
        self.server = server
        self.troubled = troubled
        self.undisturbed = undisturbed
        self.keys = [f"demo-{service}-key" for service in ("jellyfin", "emby", "tmdb", "omdb", "mdblist")]

    @property
    def state(self) -> Any:
        """State of the stand-ins, which tests change."""
        return self.simulator.state

    # Changes on the server

    def fault(self, fault: dict[str, Any], subject: str, **more: Any) -> FaultRule:
        """Add a fault to requests about a subject (see ``target``)."""
        service, part = self.target(subject)
        rule = FaultRule(service, **{"path_contains": part, **fault, **more})
        self.state.add_fault(rule)
        return rule

    def target(self, subject: str) -> tuple[str, str]:
        """Return the service for a subject, and a part of the path or query of its requests."""
        emby = self.server == "emby"
        parts = {
            "users": "/Users/Query" if emby else "/Users",
            "libraries": "/Library/VirtualFolders",
            "movies": "ncludeItemTypes=Movie&",
            "series": "ncludeItemTypes=Series&",
            "episodes": "ncludeItemTypes=Episode&",
            "watch_history": "/Items?" if emby else "userId=",
        }
        return ("tmdb", "append_to_response") if subject == "tmdb" else (self.server, parts[subject])

    def add_news(self) -> None:
        """Change something for every job: a user, a new film and series, plays, and titles that are due with TMDb."""
        self.state.change_user("bela1", is_hidden=True)
        self.state.add_user(WorldUser("newcomer"))
        for key in ("movie:900000023", "series:900000009"):
            self.state.add_title(self.state.titles[key])
        now = datetime.now(UTC)
        for minutes, user in enumerate(("ada0", "bela1", "dario3")):
            film = next(
                f"movie:{900_000_000 + n}" for n in range(24) if not self.seen(user, f"movie:{900_000_000 + n}")
            )
            self.state.play(Play(user, film, now - timedelta(minutes=10 + minutes)))
        for home in (self.troubled, self.undisturbed):
            # Make some titles new to TMDb, and all due.
            for table in ("enriched_metadata", "tmdb_metadata"):
                home.rows(f"DELETE FROM {table} WHERE work_id IN ({NEW_TO_TMDB}) RETURNING 1")
            home.rows("UPDATE fetches SET due_at = now() - interval '1 second' WHERE source = 'tmdb' RETURNING 1")

    def entry(self, item: Any) -> str:
        """Return text that only the entry of this user or item contains in the server's listings."""
        number = item_number(item) if self.server == "emby" and isinstance(item, Item) else item.id
        return f'"Id":"{number}"'

    def oldest_first(self, media_type: str) -> list[str]:
        """Return keys of the server's titles of a media type, in the order of its listings."""
        wanted = "Movie" if media_type == "movie" else "Series"
        return [item.title.key for item in sorted(self.state.catalogue.items(wanted), key=lambda item: item.created)]

    def seen(self, user: str, key: str) -> bool:
        """Return whether a user has any state of a title."""
        slots = self.state.user_named(user).data
        return any(item.slot in slots for top in self.state.catalogue.top_items(key) for item in (top,))

    # The homes

    def run(self, home: Household, job: str, **config: dict[str, Any]) -> dg.ExecuteInProcessResult:
        """Run a job as its schedule would; failed titles are due again at once."""
        home.rows("UPDATE fetches SET due_at = now() - interval '1 second' WHERE outcome = 'error' RETURNING 1")
        users = home.everyone() if job == "sync_watch_history" else None
        return home.run(job, users=users, config=config)

    def must(self, home: Household, job: str, **config: dict[str, Any]) -> dg.ExecuteInProcessResult:
        """Run a job that must succeed."""
        result = self.run(home, job, **config)
        assert result.success, (job, failures(result))
        return result

    def update_undisturbed(self, *jobs: str, **config: dict[str, Any]) -> None:
        """Run jobs in the undisturbed home."""
        for job in jobs or JOBS:
            self.must(self.undisturbed, job, **{name: how for name, how in config.items() if name in ASSETS[job]})

    def with_settings(self, **settings: Any) -> Household:
        """Return the troubled home with other settings."""
        values = {name: getattr(self.troubled.settings, name) for name in self.troubled.settings.model_fields_set}
        return Household(load_settings(**values | settings), self.troubled.instance)

    # Assertions

    def messages(self, result: dg.ExecuteInProcessResult) -> list[str]:
        """Return failures and warnings, and check that they are short and show no stack trace or key."""
        warned = []
        for event in self.troubled.instance.all_logs(result.run_id):
            said = f"{event.user_message} {event.message} {event.dagster_event}"
            assert not any(key in said for key in self.keys), said
            if event.dagster_event is None and event.level >= logging.WARNING:
                warned.append(event.user_message)
        found = [*failures(result).values(), *warned]
        for said in found:
            assert len(said) < LONGEST_SENTENCE and "Traceback" not in said and "\n" not in said, said
            assert said.rstrip().endswith("."), said
        return found

    def assert_nothing_lost(self, before: Portrait) -> None:
        """Check that every row of the troubled home is as before, or as in the undisturbed home."""
        after, aim = portrait(self.troubled), portrait(self.undisturbed)
        for table in before:
            # This table records failed attempts.
            if table != "fetches":
                lost = (before[table] & aim[table]) - after[table]
                odd = after[table] - (before[table] | aim[table])
                # Titles without an answer of TMDb have the metadata of the media server.
                assert not lost and (not odd or table == "enriched_metadata"), (table, lost, odd)

    def assert_equal(self) -> None:
        """Check that both homes have the same data."""
        self.assert_like(portrait(self.undisturbed))

    def assert_like(self, other: Portrait) -> None:
        """Check that the troubled home has exactly this data."""
        mine = portrait(self.troubled)
        for table in mine:
            assert mine[table] == other[table], (table, mine[table] - other[table], other[table] - mine[table])


ASSETS = {
    "sync_users": ("users",),
    "sync_movies": ("movies",),
    "sync_series": ("series", "episodes"),
    "sync_watch_history": ("watch_history",),
    "enrich_metadata": ("tmdb_metadata", "enriched_metadata"),
}


def portrait(home: Household) -> Portrait:
    """Return the data of a home, with the server's ids instead of its own ids, which depend on the runs."""
    from aperture_dagster.storage.tables import metadata

    names = (
        "WITH items AS (SELECT item_id, server_item_id FROM titles UNION ALL SELECT item_id, server_item_id FROM "
        "episodes), copies AS (SELECT work_id, string_agg(server_item_id, '+' ORDER BY server_item_id) AS names "
        "FROM titles GROUP BY work_id) "
    )
    moments = {
        "updated_at", "created_at", "first_seen_at", "seen_at", "generated_at", "fetched_at", "attempted_at", "due_at",
        "synced_at", "full_synced_at", "activated_at", "rated_at", "noted_at", "unused_since", "change_id",
    }  # fmt: skip

    def column(name: str) -> str:
        if name == "item":
            return (
                "coalesce((SELECT names FROM copies WHERE copies.work_id = t.item AND t.kind IN ('movie', 'series')), "
                "t.item::text)"
            )
        if name in ("item_id", "series_item_id", "primary_item_id"):
            return f"(SELECT server_item_id FROM items WHERE items.item_id = t.{name})"
        if name == "work_id":
            return "(SELECT names FROM copies WHERE copies.work_id = t.work_id)"
        # The time of a removal may differ, the removal itself may not.
        return f"(t.{name} IS NOT NULL)::text" if name == "removed_at" else f't."{name}"::text'

    kept = {}
    for table in metadata.sorted_tables:
        if table.name in IGNORED_TABLES:
            continue
        columns = ", ".join(f'{column(one.name)} AS "{one.name}"' for one in table.columns if one.name not in moments)
        rows = home.rows(f"{names}SELECT {columns} FROM {table.name} t")
        kept[table.name] = Counter(tuple(row.values()) for row in rows)
    return kept


_filled: dict[tuple[str, str], tuple[str, World, list[str]]] = {}


@contextmanager
def twins_on(server: str, postgres: str, serve: Callable[..., Any], database_name: str) -> Iterator[Twins]:
    """Start stand-ins with twins on them. The databases are filled once per process, then copied."""
    from aperture_dagster.storage.connection import close_engine

    if (postgres, server) not in _filled:
        _filled[postgres, server] = _fill(server, postgres, serve)
    template, world, users = _filled[postgres, server]
    urls = [_copy(postgres, template, f"{database_name}_{name}") for name in ("troubled", "undisturbed")]
    try:
        with serve(world, server=server, **_how()) as (simulator, settings):
            _hold_back(simulator)
            with dg.DagsterInstance.ephemeral() as first, dg.DagsterInstance.ephemeral() as second:
                homes = []
                for url, instance in zip(urls, (first, second), strict=True):
                    instance.add_dynamic_partitions(USERS, users)
                    values = {name: getattr(settings, name) for name in settings.model_fields_set}
                    homes.append(Household(load_settings(**values | {"database_url": _plain(url)}), instance))
                yield Twins(simulator, world, server, *homes)
    finally:
        for url in urls:
            close_engine(url)
            _as_admin(postgres, f"DROP DATABASE {make_url(url).database} WITH (FORCE)")


def _how() -> dict[str, Any]:
    return {"page_size": PAGE, "http_attempts": 3}


def _hold_back(simulator: RunningSimulator) -> None:
    # These are added later, by ``add_news``.
    for key in ("movie:900000023", "series:900000009"):
        simulator.state.remove_title(key)


def _fill(server: str, postgres: str, serve: Callable[..., Any]) -> tuple[str, World, list[str]]:
    from aperture_dagster.storage.connection import close_engine

    world = small_world(movies=24, plays=160)
    template = f"filled_{server}"
    url = _copy(postgres, "template_aperture", template)
    with serve(world, server=server, database_url=_plain(url), **_how()) as (simulator, settings):
        _hold_back(simulator)
        with dg.DagsterInstance.ephemeral() as instance:
            home = Household(settings, instance)
            for job in JOBS:
                home.must(job, users=home.everyone() if job == "sync_watch_history" else None)
            users = home.everyone()
    close_engine(url)
    return template, world, users


def _copy(postgres: str, template: str, name: str) -> str:
    _as_admin(postgres, f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY file_copy")
    return make_url(postgres).set(database=name).render_as_string(hide_password=False)


def _plain(url: str) -> str:
    return url.replace("postgresql+psycopg://", "postgresql://")


def _as_admin(postgres: str, statement: str) -> None:
    admin = create_engine(postgres, isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        connection.execute(text(statement))
    admin.dispose()
