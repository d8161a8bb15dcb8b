"""Less work in Dagster for each run in a test, and in libraries for each server and client, with the same results.

Of the processes that tests start, only :mod:`aperture_dagster_tests.e2e.housekeeper` uses it.
"""

from __future__ import annotations

import functools
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest


@contextmanager
def frugal_dagster() -> Iterator[None]:
    """Patch Dagster until the block ends."""
    with pytest.MonkeyPatch.context() as patch:
        _read_revisions_once(patch)
        _create_tables_once(patch)
        _describe_resources_once(patch)
        _stay_connected(patch)
        _prepare_http_once(patch)
        yield


def _read_revisions_once(patch: pytest.MonkeyPatch) -> None:
    """Read Dagster's 90 revisions once, instead of twice for every instance, which stamps its empty tables."""
    from alembic.config import Config
    from alembic.script import ScriptDirectory

    read, known = ScriptDirectory.from_config, {}

    def from_config(config: Config) -> ScriptDirectory:
        location = config.get_main_option("script_location")
        if location not in known:
            known[location] = read(config)
        return known[location]

    patch.setattr(ScriptDirectory, "from_config", from_config)


def _create_tables_once(patch: pytest.MonkeyPatch) -> None:
    """Create the tables of an ephemeral instance once; the next instances begin with a copy of the empty tables."""
    from dagster._core.storage.event_log import in_memory as events
    from dagster._core.storage.runs import in_memory as runs

    for module, storage, metadata in (
        (events, events.InMemoryEventLogStorage, "SqlEventLogStorageMetadata"),
        (runs, runs.InMemoryRunStorage, "RunStorageSqlMetadata"),
    ):
        empty = _EmptyTables(getattr(module, metadata), module.stamp_alembic_rev)
        patch.setattr(module, metadata, empty)
        patch.setattr(module, "stamp_alembic_rev", empty.stamp)
        patch.setattr(storage, "__init__", empty.kept_after(storage.__init__))


class _EmptyTables:
    """Stands in for the metadata of one kind of ephemeral storage."""

    def __init__(self, metadata: Any, stamp: Callable[..., None]) -> None:
        self._metadata, self._stamp = metadata, stamp
        self._kept: sqlite3.Connection | None = None

    def create_all(self, connection: Any) -> None:
        if self._kept is None:
            self._metadata.create_all(connection)
        else:
            self._kept.backup(connection.connection.driver_connection)

    def stamp(self, config: Any, connection: Any) -> None:
        if self._kept is None:
            self._stamp(config, connection)

    def kept_after(self, original: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(original)
        def init(storage: Any, *args: Any, **kwargs: Any) -> None:
            original(storage, *args, **kwargs)
            if self._kept is None:
                self._kept = sqlite3.connect(":memory:", check_same_thread=False)
                storage._held_conn.connection.driver_connection.backup(self._kept)

        return init


def _describe_resources_once(patch: pytest.MonkeyPatch) -> None:
    """Infer the schema of a resource's class once, and give it defaults only where it is used.

    A run makes three copies of each resource. Each copy would infer the schema and validate its values against it, and
    nothing would use the result.
    """
    from dagster._config.pythonic_config import resource

    infer, curry = resource.infer_schema_from_config_class, resource._curry_config_schema

    @functools.cache
    def infer_once(kind: type, omitted: frozenset[str]) -> Any:
        return infer(kind, fields_to_omit=set(omitted))

    def inferred(kind: type, fields_to_omit: set[str]) -> Any:
        return infer_once(kind, frozenset(fields_to_omit))

    def config_schema(self: Any) -> Any:
        schema = self._state__internal__.config_schema
        return schema() if isinstance(schema, functools.partial) else schema

    patch.setattr(resource, "infer_schema_from_config_class", inferred)
    patch.setattr(resource, "_curry_config_schema", lambda field, data: functools.partial(curry, field, data))
    patch.setattr(resource.ConfigurableResourceFactory, "_config_schema", property(config_schema))


def _stay_connected(patch: pytest.MonkeyPatch) -> None:
    """Let ephemeral instances use the connection that they hold, instead of a new one for every statement.

    Other threads, and statements inside of others, get a connection of their own as before.
    """
    from dagster._core.storage.event_log.in_memory import InMemoryEventLogStorage
    from dagster._core.storage.runs.in_memory import InMemoryRunStorage

    for storage, name in ((InMemoryEventLogStorage, "_connect"), (InMemoryRunStorage, "connect")):
        patch.setattr(storage, "__init__", _noting_the_thread(storage.__init__))
        patch.setattr(storage, name, _by_the_held_connection(getattr(storage, name)))


def _noting_the_thread(original: Callable[..., None]) -> Callable[..., None]:
    @functools.wraps(original)
    def init(self: Any, *args: Any, **kwargs: Any) -> None:
        self._home_thread = threading.get_ident()
        original(self, *args, **kwargs)
        self._held_conn.connection.driver_connection.execute("PRAGMA foreign_keys=ON")

    return init


def _by_the_held_connection(original: Callable[..., Any]) -> Callable[..., Any]:
    @contextmanager
    def connect(self: Any) -> Iterator[Any]:
        held = self._held_conn
        if threading.get_ident() != self._home_thread or held.in_transaction():
            with original(self) as connection:
                yield connection
        else:
            with held.begin():
                yield held

    return connect


def _prepare_http_once(patch: pytest.MonkeyPatch) -> None:
    """Read the certificates of authorities once, instead of for every client, and each path of the stand-ins."""
    from httpx._transports import default
    from starlette import routing

    patch.setattr(default, "create_ssl_context", functools.cache(default.create_ssl_context))
    patch.setattr(routing, "compile_path", functools.cache(routing.compile_path))
