"""Households in which every job has run once: each kind is filled once per process, then copied for every test.

A copy has its own database, home and Dagster instance, and its own stand-ins with the same world. It costs a tenth of
a whole cycle.
"""

from __future__ import annotations

import copy
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg
from sqlalchemy import make_url

from aperture_dagster.settings import Settings
from aperture_dagster.storage.connection import close_engine
from aperture_dagster_tests.databases import database_copy
from aperture_dagster_tests.e2e.worlds import small_world
from aperture_dagster_tests.household import Household


@dataclass(frozen=True)
class Template:
    """A household after its first cycle: its world, the name of its database, its home and its instance."""

    world: Any
    database: str
    home: Path
    instance: dg.DagsterInstance


class Templates:
    """The templates of a process, by the media server's type; made at first use."""

    def __init__(self, postgres: str, folder: Path) -> None:
        self._postgres = postgres
        self._folder = folder
        self._made: dict[str, Template] = {}
        self._open = ExitStack()

    def get(self, serve: Callable[..., Any], server: str) -> Template:
        """Return the template of a small world on this server."""
        if server not in self._made:
            self._made[server] = self._make(serve, server)
        return self._made[server]

    def close(self) -> None:
        """Drop the databases and instances."""
        self._open.close()

    def _make(self, serve: Callable[..., Any], server: str) -> Template:
        url = self._open.enter_context(database_copy(self._postgres))
        instance = self._open.enter_context(dg.DagsterInstance.ephemeral())
        world, home = small_world(), self._folder / server
        with serve(copy.deepcopy(world), server=server, database_url=url, home=home) as (_, settings):
            Household(settings, instance).cycle()
        # A database in use cannot be copied.
        close_engine(url.replace("postgresql://", "postgresql+psycopg://"))
        return Template(world, str(make_url(url).database), home, instance)


def settled_households(templates: Templates, postgres: str, serve: Callable[..., Any]) -> Callable[..., Any]:
    """Return ``settled(**settings)``, which opens stand-ins with a small world, and a home after its first cycle.

    The last part of what it yields is the world.
    """

    @contextmanager
    def living(
        parts: dict[str, Any] | None = None, *, server: str = "jellyfin", **overrides: Any
    ) -> Iterator[tuple[Any, Household, Any]]:
        template = templates.get(serve, server)
        world = copy.deepcopy(template.world)
        with (
            database_copy(postgres, template.database) as url,
            serve(world, server=server, database_url=url, **overrides) as (simulator, settings),
            dg.DagsterInstance.ephemeral() as instance,
        ):
            _copy_home(template.home, settings)
            _copy_instance(template.instance, instance)
            yield simulator, Household(settings, instance, **(parts or {})), world

    return living


def _copy_home(home: Path, settings: Settings) -> None:
    shutil.copytree(home, settings.home_path, dirs_exist_ok=True)


def _copy_instance(source: dg.DagsterInstance, target: dg.DagsterInstance) -> None:
    """Copy runs, events and partitions between ephemeral instances, each of which is two SQLite databases in memory."""
    pairs = ((source.run_storage, target.run_storage), (source.event_log_storage, target.event_log_storage))
    for one, other in pairs:
        driver, copied = (storage._held_conn.connection.driver_connection for storage in (one, other))
        driver.backup(copied)
    target.event_log_storage._storage_id = source.event_log_storage._storage_id
