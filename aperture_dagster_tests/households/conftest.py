"""Several households on one instance, each with a database, a home and stand-ins of its own."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from sqlalchemy import make_url

from aperture_dagster.settings import load_settings
from aperture_dagster.simulator.environment import environment
from aperture_dagster.simulator.world import World
from aperture_dagster_tests.conftest import PROJECT
from aperture_dagster_tests.databases import database_copy
from aperture_dagster_tests.forks import Fork
from aperture_dagster_tests.households.resident import ANSWER

PROGRAM = "from aperture_dagster_tests.households.resident import main\nmain()"


class Neighbour:
    """A household in a process of its own, which obeys orders."""

    def __init__(self, name: str, variables: dict[str, str], simulator: Any, database: str) -> None:
        self.name, self.variables, self.simulator, self.database = name, variables, simulator, database
        self.home = Path(variables["APERTURE_HOME"])
        self._process = Fork(PROGRAM, environment=variables)

    def __getattr__(self, order: str) -> Callable[..., Any]:
        """Return a function that gives the order of this name and returns the answer."""

        def give(*arguments: Any) -> Any:
            self._process.stdin.write(json.dumps([order, *arguments]) + "\n")
            for line in self._process.stdout:
                if line.startswith(ANSWER):
                    return json.loads(line.removeprefix(ANSWER))
            raise AssertionError(f"{self.name} ended: {self._process.communicate()[1]}")

        return give

    def leave(self) -> None:
        """End the process."""
        if self._process.poll() is None:
            self._process.communicate()


@pytest.fixture
def dagster_url(postgres: str) -> Iterator[str]:
    """Yield the URL of an empty database for an instance."""
    with database_copy(postgres) as url:
        parts = make_url(url)
        yield parts.set(database=f"{parts.database}_dagster").render_as_string(hide_password=False)


@pytest.fixture
def shared_instance(dagster_url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    """Open the instance as Dagster's daemon does, which belongs to no household."""
    for name, value in {
        "APERTURE_DATABASE_URL": dagster_url.replace("_dagster?", "?"),
        "APERTURE_HOME": str(tmp_path / "daemon"),
        "DAGSTER_HOME": str(PROJECT),
    }.items():
        monkeypatch.setenv(name, value)
    # It creates the database.
    with dg.DagsterInstance.get() as instance:
        monkeypatch.setenv("APERTURE_DAGSTER_DATABASE_URL", dagster_url)
        yield instance


@pytest.fixture
def move_in(
    postgres: str, dagster_url: str, shared_instance: dg.DagsterInstance, serve: Callable[..., Any], tmp_path: Path
) -> Iterator[Callable[..., Neighbour]]:
    """Return ``move_in(name, world, **variables)``, which starts a household."""
    with ExitStack() as stack:

        def start(name: str, world: World, **variables: str) -> Neighbour:
            database = stack.enter_context(database_copy(postgres))
            simulator, _ = stack.enter_context(serve(world, database_url=database))
            root = simulator.jellyfin_url.removesuffix("/jellyfin")
            neighbour = Neighbour(
                name,
                {
                    **{one: os.environ[one] for one in ("PATH", "TMPDIR", "HOME") if one in os.environ},
                    **environment(root),
                    "DAGSTER_HOME": str(PROJECT),
                    "APERTURE_CONFIG": os.devnull,
                    "APERTURE_TIMEZONE": "UTC",
                    "APERTURE_HOUSEHOLD": name,
                    "APERTURE_HOME": str(tmp_path / name),
                    "APERTURE_DATABASE_URL": database,
                    "APERTURE_DAGSTER_DATABASE_URL": dagster_url,
                    "APERTURE_HTTP_ATTEMPTS": "1",
                    "APERTURE_STEP_RETRIES": "0",
                    **variables,
                },
                simulator,
                database,
            )
            stack.callback(neighbour.leave)
            return neighbour

        yield start


@contextmanager
def instance_of(monkeypatch: pytest.MonkeyPatch, household: str, home: Path) -> Iterator[dg.DagsterInstance]:
    """Open the shared instance in this process as a household does."""
    with monkeypatch.context() as patch:
        patch.setenv("APERTURE_HOUSEHOLD", household)
        patch.setenv("APERTURE_HOME", str(home))
        assert load_settings().household == household
        with dg.DagsterInstance.get() as instance:
            yield instance
