"""What stands between an operator and a working system: each thing looked at, with what to do about it."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from aperture_dagster.errors import OperatorError
from aperture_dagster.resources.errors import QuotaSpent, ServiceBusy, ServiceError, ServiceNotConfigured
from aperture_dagster.resources.home_network import describe_route
from aperture_dagster.resources.metadata_services import (
    mdblist_service,
    omdb_service,
    tmdb_service,
)
from aperture_dagster.resources.metered_service import MeteredService
from aperture_dagster.resources.providers import Clock, Database, Embedders, MediaServers
from aperture_dagster.resources.redaction import redact
from aperture_dagster.settings import Settings
from aperture_dagster.storage.errors import DatabaseError

LEAST_FREE_BYTES = 1_000_000_000

State = Literal["ok", "off", "warning", "failed"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at: how it stands, and in ``told`` what was seen or what to do."""

    what: str
    state: State
    told: str


def examine(settings: Settings) -> Iterator[Finding]:
    """Look at everything, one after the other; a failure of one hides none of the others."""
    database, clock = Database(settings), Clock()
    checks: list[tuple[str, Callable[[], Iterator[Finding]]]] = [
        ("home", lambda: _home(settings)),
        ("database", lambda: _database(database)),
        ("media server", lambda: _media_server(settings, database)),
        (
            "TMDb",
            lambda: _metadata_service(
                tmdb_service(settings, database), settings.tmdb_url, "titles keep what the media server says"
            ),
        ),
        (
            "OMDb",
            lambda: _metadata_service(
                omdb_service(settings, database, clock), settings.omdb_url, "titles have no critics' scores and awards"
            ),
        ),
        (
            "MDBList",
            lambda: _metadata_service(
                mdblist_service(settings, database, clock), settings.mdblist_url, "titles have no scores of MDBList"
            ),
        ),
        ("embedder", lambda: _embedder(settings)),
        ("schedules", lambda: _schedules(settings)),
    ]
    for what, check in checks:
        try:
            yield from check()
        except ServiceNotConfigured as error:
            yield Finding(what, "off", str(error))
        except (ServiceError, OSError, OperatorError) as error:
            yield Finding(what, "failed", str(error))
        except Exception as error:
            # What nobody foresaw is no reason to look at nothing else.
            told = " ".join(f"{type(error).__name__}: {error}".split())
            yield Finding(what, "failed", redact(told, settings.secret_values()))


def _home(settings: Settings) -> Iterator[Finding]:
    home = settings.home_path
    why = why_not_writable(home)
    if why is not None:
        yield Finding("home", "failed", why)
        return
    free = shutil.disk_usage(home).free
    told = f"{home}, {free / 1e9:.1f} GB free"
    if free < LEAST_FREE_BYTES:
        yield Finding("home", "warning", f"{told}: that is little; make room or set APERTURE_HOME to another disk")
    else:
        yield Finding("home", "ok", told)


def why_not_writable(home: Path) -> str | None:
    """Prepare the home and write to it; what is wrong and what to set, or None when it can be used."""
    from aperture_dagster.storage.files import FileError, prepare_home

    probe = home / ".writable"
    try:
        prepare_home(home)
        probe.write_bytes(b"x")
        probe.unlink()
    except FileError as error:
        return str(error).rstrip(".")
    except OSError as error:
        return f"{home} cannot be written ({error.strerror}): set APERTURE_HOME to a folder that can"
    return None


def _database(database: Database) -> Iterator[Finding]:
    from aperture_dagster.storage.catalogue import catalogue_size
    from aperture_dagster.storage.connection import describe_server

    with database.transaction() as connection:
        server = describe_server(connection)
        size = catalogue_size(connection)
    yield Finding(
        "database",
        "ok",
        f"PostgreSQL {server['postgresql']}, pgvector {server['pgvector']}, schema {server['schema']}; "
        f"{size['movies']:,} films, {size['series']:,} series, {size['episodes']:,} episodes",
    )


def _media_server(settings: Settings, database: Database) -> Iterator[Finding]:
    servers = MediaServers(settings, database)
    with contextlib.ExitStack() as stack:
        try:
            server = stack.enter_context(servers.open())
        except DatabaseError:
            # Said before; whether the server is well does not hang on it.
            server = stack.enter_context(servers.open_without_database())
        identity = server.identity()
        users, libraries = server.users(), server.libraries()
    named = ", ".join(one.name if one.library_id else f"{one.name} (not scanned yet)" for one in libraries) or "none"
    yield Finding(
        "media server",
        "ok" if libraries else "warning",
        "; ".join(
            [
                f"{identity.product} {identity.version} {identity.name!r}, {len(users.records)} users, "
                f"libraries: {named}",
                *describe_route(settings),
            ]
        ),
    )


def _metadata_service(service: MeteredService[Any], address: str, without: str) -> Iterator[Finding]:
    """Whether a source of facts takes our key, and what its quota still allows."""
    if not service.configured:
        yield Finding(service.label, "off", f"{service.key_setting} is not set: {without}")
        return
    try:
        with service.open(patience_seconds=0) as client:
            client.check()
        told = f"the key is accepted at {address}"
    except (ServiceBusy, QuotaSpent) as error:
        told = str(error).rstrip(".")
    except DatabaseError:
        # Said before; whether the key is good does not hang on it.
        with service.open_without_database() as client:
            client.check()
        yield Finding(service.label, "ok", f"the key is accepted at {address}")
        return
    if service.quota is not None:
        used, limit = service.quota.usage()
        told += f"; {used:,} of today's {limit:,} requests are used"
    yield Finding(service.label, "ok", told)


def _embedder(settings: Settings) -> Iterator[Finding]:
    embedder = Embedders(settings).get()
    embedding = embedder.embed(["A robot learns to love."])
    if embedding.refused:
        yield Finding("embedder", "failed", embedding.refused[0])
        return
    yield Finding("embedder", "ok", f"{embedder.name}, {embedding.vectors.shape[1]} dimensions")


def _schedules(settings: Settings) -> Iterator[Finding]:
    """Each schedule: on or off, when it last started something, when it will next."""
    import dagster as dg
    from dagster._core.scheduler.instigation import InstigatorType, TickStatus
    from dagster._utils.schedules import schedule_execution_time_iterator

    from aperture_dagster.build import build_definitions

    repository = build_definitions(settings).get_repository_def()
    with dg.DagsterInstance.get() as instance:
        states = {
            state.instigator_name: state
            for state in instance.all_instigator_state(instigator_type=InstigatorType.SCHEDULE)
        }
        for schedule in sorted(repository.schedule_defs, key=lambda one: one.name):
            state = states.get(schedule.name)
            on = state.is_running if state else schedule.default_status == dg.DefaultScheduleStatus.RUNNING
            last = "never"
            if state is not None:
                ticks = instance.get_ticks(
                    state.instigator_origin_id,
                    state.selector_id,
                    limit=1,
                    statuses=[TickStatus.SUCCESS, TickStatus.FAILURE],
                )
                if ticks:
                    last = f"{_moment(ticks[0].timestamp)} ({ticks[0].status.value.lower()})"
            following = next(
                schedule_execution_time_iterator(
                    datetime.now(UTC).timestamp(), schedule.cron_schedule, schedule.execution_timezone
                )
            )
            told = f"{schedule.cron_schedule}; last {last}; next {following.isoformat(sep=' ', timespec='minutes')}"
            yield Finding(schedule.name, "ok" if on else "off", told if on else f"switched off; {told}")


def _moment(timestamp: float) -> str:
    return datetime.fromtimestamp(timestamp, UTC).isoformat(sep=" ", timespec="minutes")
