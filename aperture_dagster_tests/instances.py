"""Instances of Dagster in memory for tests: those of Dagster, on databases that cost less to create and to reach.

``dg.DagsterInstance.ephemeral()`` creates the tables of each instance anew (45 ms of processor time), and opens a
connection for each statement, which is a quarter of a short run. Everything else is Dagster's, and nothing of it is
replaced.
"""

from __future__ import annotations

import functools
import sqlite3
import threading
import uuid
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import dagster as dg
from dagster._core.instance.types import InstanceType
from dagster._core.launcher.sync_in_memory_run_launcher import SyncInMemoryRunLauncher
from dagster._core.run_coordinator import DefaultRunCoordinator
from dagster._core.storage.event_log import InMemoryEventLogStorage
from dagster._core.storage.noop_compute_log_manager import NoOpComputeLogManager
from dagster._core.storage.root import TemporaryLocalArtifactStorage
from dagster._core.storage.runs import InMemoryRunStorage
from dagster._core.storage.sql import create_engine
from dagster._core.storage.sqlite import create_in_memory_conn_string
from sqlalchemy import Connection
from sqlalchemy.pool import NullPool


def instance_in_memory() -> dg.DagsterInstance:
    """Return an instance that is like ``dg.DagsterInstance.ephemeral()``, and is closed by ``with`` as well."""
    return dg.DagsterInstance(
        instance_type=InstanceType.EPHEMERAL,
        local_artifact_storage=TemporaryLocalArtifactStorage(),
        run_storage=_Runs(),
        event_storage=_Events(),
        compute_log_manager=NoOpComputeLogManager(),
        run_coordinator=DefaultRunCoordinator(),
        run_launcher=SyncInMemoryRunLauncher(),
    )


def copy_instance(source: dg.DagsterInstance, target: dg.DagsterInstance) -> None:
    """Copy runs, events and partitions between instances in memory."""
    pairs = ((source.run_storage, target.run_storage), (source.event_log_storage, target.event_log_storage))
    for storage, copied in pairs:
        _driver(storage).backup(_driver(copied))
    target.event_log_storage._storage_id = source.event_log_storage._storage_id


@functools.cache
def _empty_tables(storage: type) -> sqlite3.Connection:
    """Return a database with the tables of one of Dagster's storages, to be copied by any thread."""
    made, kept = storage(), sqlite3.connect(":memory:", check_same_thread=False)
    _driver(made).backup(kept)
    made.dispose()
    return kept


def _driver(storage: Any) -> sqlite3.Connection:
    return storage._held_conn.connection.driver_connection


class _HeldConnection:
    """A storage that uses the connection that it holds, unless another thread or an open transaction needs its own."""

    _held_conn: Connection

    def _open(self, kind: type) -> None:
        self._engine = create_engine(
            create_in_memory_conn_string(f"{kind.__name__}-{uuid.uuid4()}"), poolclass=NullPool
        )
        self._held_conn = self._engine.connect()
        self._home_thread = threading.get_ident()
        _empty_tables(kind).backup(_driver(self))
        _driver(self).execute("PRAGMA foreign_keys=ON")

    @property
    def _may_use_held(self) -> bool:
        return threading.get_ident() == self._home_thread and not self._held_conn.in_transaction()

    @contextmanager
    def _transaction(self) -> Iterator[Connection]:
        with self._held_conn.begin():
            yield self._held_conn


class _Runs(_HeldConnection, InMemoryRunStorage):
    def __init__(self) -> None:
        self._open(InMemoryRunStorage)

    def connect(self) -> Any:
        return self._transaction() if self._may_use_held else super().connect()


class _Events(_HeldConnection, InMemoryEventLogStorage):
    def __init__(self) -> None:
        # What Dagster's constructor sets beside its database.
        self._inst_data = None
        self._handlers: Any = defaultdict(set)
        self._storage_id = 0
        self._db_lock = threading.Lock()
        self._open(InMemoryEventLogStorage)

    def _connect(self) -> Any:
        return self._transaction() if self._may_use_held else super()._connect()
