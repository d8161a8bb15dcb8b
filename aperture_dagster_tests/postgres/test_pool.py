"""Pooled connections survive a restart of the server, and are not pinged before each statement."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from sqlalchemy import Engine, create_engine, make_url, text

from aperture_dagster.postgres import pool
from aperture_dagster_tests.waiting import wait_for


@pytest.fixture(params=["psycopg", "psycopg2"])
def engine(empty: str, request: pytest.FixtureRequest) -> Iterator[Engine]:
    url = make_url(empty).set(drivername=f"postgresql+{request.param}")
    engine = create_engine(url, pool_size=1, isolation_level="AUTOCOMMIT")
    pool.replace_dead_connections(engine)
    yield engine
    engine.dispose()


@pytest.fixture
def pings(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    sent: list[Any] = []
    ping = engine.dialect.do_ping
    monkeypatch.setattr(engine.dialect, "do_ping", lambda connection: sent.append(connection) or ping(connection))
    return sent


def backend(engine: Engine) -> int:
    with engine.connect() as connection:
        return connection.execute(text("SELECT pg_backend_pid()")).scalar_one()


def test_a_connection_in_steady_use_is_not_pinged(engine: Engine, pings: list[Any], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(pool, "QUIET_SECONDS", 60.0)
    assert len({backend(engine) for _ in range(10)}) == 1 and pings == []


def test_a_connection_whose_server_ended_it_is_replaced_at_its_next_use(
    engine: Engine, admin: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(pool, "QUIET_SECONDS", 60.0)
    before = backend(engine)
    admin(f"SELECT pg_terminate_backend({before})")
    wait_for(lambda: not admin(f"SELECT count(*) FROM pg_stat_activity WHERE pid = {before}"), "the connection goes on")
    assert backend(engine) != before


def test_a_connection_that_was_not_used_for_a_while_is_pinged(
    engine: Engine, pings: list[Any], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(pool, "QUIET_SECONDS", -1.0)
    assert backend(engine) == backend(engine) and len(pings) == 1
