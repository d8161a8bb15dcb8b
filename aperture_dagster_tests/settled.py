"""Households in which some jobs have run already: each kind is filled once per process, then copied for every test.

A copy has its own database, home and Dagster instance, and its own stand-ins with the same world. It costs a tenth of
a whole cycle.
"""

from __future__ import annotations

import copy
import itertools
import shutil
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg
from sqlalchemy import make_url

from aperture_dagster.postgres.connection import close_engine
from aperture_dagster.settings import Settings
from aperture_dagster.simulator.settings import SimulatorSettings
from aperture_dagster.simulator.world import World
from aperture_dagster_tests.databases import database_copy
from aperture_dagster_tests.e2e.worlds import small_world
from aperture_dagster_tests.household import Household
from aperture_dagster_tests.instances import copy_instance, instance_in_memory

Serve = Callable[..., Any]


@dataclass(frozen=True)
class Template:
    """A household after some jobs: its world, the name of its database, its home and its instance."""

    world: World
    database: str
    home: Path
    instance: dg.DagsterInstance


class Templates:
    """The templates of a process; made at first use."""

    def __init__(self, postgres: str, folder: Path) -> None:
        self._postgres = postgres
        self._folder = folder
        self._numbers = itertools.count()
        self._made: dict[Hashable, Template] = {}
        self._open = ExitStack()

    def get(
        self, key: Hashable, world: Callable[[], World], serve: Serve, fill: Callable[[Household], None], **how: Any
    ) -> Template:
        """Return the template of this name: a household in a world, after ``fill``."""
        if key not in self._made:
            self._made[key] = self._make(world(), serve, fill, how)
        return self._made[key]

    @contextmanager
    def copy(
        self, template: Template, serve: Serve, parts: dict[str, Any], **how: Any
    ) -> Iterator[tuple[Any, Household, World]]:
        """Open stand-ins, and a household that is like the template."""
        world = copy.deepcopy(template.world)
        with (
            database_copy(self._postgres, template.database) as url,
            serve(world, database_url=url, **how) as (simulator, settings),
            instance_in_memory() as instance,
        ):
            _copy_home(template.home, settings)
            copy_instance(template.instance, instance)
            yield simulator, Household(settings, instance, **parts), world

    def close(self) -> None:
        """Drop the databases and instances."""
        self._open.close()

    def _make(self, world: World, serve: Serve, fill: Callable[[Household], None], how: dict[str, Any]) -> Template:
        url = self._open.enter_context(database_copy(self._postgres))
        instance = self._open.enter_context(instance_in_memory())
        home = self._folder / str(next(self._numbers))
        with serve(copy.deepcopy(world), database_url=url, home=home, **how) as (_, settings):
            fill(Household(settings, instance))
        # A database in use cannot be copied.
        close_engine(url.replace("postgresql://", "postgresql+psycopg://"))
        home.mkdir(exist_ok=True)
        return Template(world, str(make_url(url).database), home, instance)


def settled_households(templates: Templates, serve: Serve) -> Callable[..., Any]:
    """Return ``settled(**settings)``, which opens stand-ins with a small world, and a home after its first cycle.

    The last part of what it yields is the world.
    """

    @contextmanager
    def living(
        parts: dict[str, Any] | None = None, *, server: str = "jellyfin", **overrides: Any
    ) -> Iterator[tuple[Any, Household, World]]:
        template = templates.get(("cycle", server), small_world, serve, _cycle, server=server)
        with templates.copy(template, serve, parts or {}, server=server, **overrides) as opened:
            yield opened

    return living


def households(templates: Templates, serve: Serve) -> Callable[..., Any]:
    """Return ``household(world, **settings)``, which opens stand-ins and an empty home that uses them.

    ``after`` names jobs that have run there; what they do must not depend on other settings than the media server.
    """

    @contextmanager
    def living(
        world: World, parts: dict[str, Any] | None = None, *, after: Sequence[str] = (), **how: Any
    ) -> Iterator[tuple[Any, Household]]:
        if not after:
            with serve(world, **how) as (simulator, settings), instance_in_memory() as instance:
                yield simulator, Household(settings, instance, **(parts or {}))
            return

        def run(home: Household) -> None:
            for job in after:
                home.must(job)

        stand_ins = how.get("stand_ins") or SimulatorSettings()
        version = (how.get("server", "jellyfin"), stand_ins.jellyfin_version)
        template = templates.get((*after, *version, repr(world)), lambda: world, serve, run, **how)
        with templates.copy(template, serve, parts or {}, **how) as (simulator, home, _):
            yield simulator, home

    return living


def _cycle(home: Household) -> None:
    home.cycle()


def _copy_home(home: Path, settings: Settings) -> None:
    shutil.copytree(home, settings.home_path, dirs_exist_ok=True)
