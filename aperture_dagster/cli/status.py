"""``aperture status``: what is there, and what is wrong, for people and for monitors.

It looks at the state that is stored here, and asks no service; ``aperture doctor`` examines connections and settings.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import click
from rich.table import Table
from rich.text import Text
from sqlalchemy import Connection

from aperture_dagster.alerts import Message, Notifier
from aperture_dagster.catalogue.departures import describe_departures
from aperture_dagster.catalogue.people import read_users, server_identity, who_takes_part
from aperture_dagster.catalogue.queries import catalogue_size
from aperture_dagster.catalogue.server_trouble import read_trouble
from aperture_dagster.cli.common import Terminal, echo_json, json_option, operator_errors
from aperture_dagster.cli.demo import home_option, settings_of_home
from aperture_dagster.cli.heartbeats import read_parts, up_is_running
from aperture_dagster.cli.show import how_to_begin
from aperture_dagster.http.errors import redact
from aperture_dagster.maintenance import size_of_database
from aperture_dagster.maintenance.status import (
    PICK_DAYS,
    CheckState,
    JobState,
    Status,
    UserState,
    Wrong,
    changes_since,
    describe_changes,
    describe_picks,
    find_wrong,
    future_dates,
    household_rows,
    picks_watched,
    recent_outage,
)
from aperture_dagster.model import Clock, counted, describe_future, elapsed
from aperture_dagster.model.errors import OperatorError
from aperture_dagster.postgres.backup import backup_folder, read_backups, why_lost, why_overdue
from aperture_dagster.postgres.connection import describe_server
from aperture_dagster.postgres.database import NothingYet, read_only
from aperture_dagster.postgres.errors import DatabaseError
from aperture_dagster.prices import read_offered
from aperture_dagster.prices.refresh import estimate_usage, read_costs, shown, why_not_offered
from aperture_dagster.publishing.published import unread_libraries
from aperture_dagster.publishing.work import why_unread
from aperture_dagster.ratings.merge import describe_held
from aperture_dagster.ratings.removals import held_by_user
from aperture_dagster.settings import Settings, load_settings

if TYPE_CHECKING:
    import dagster as dg

    from aperture_dagster.jobs import Job


FORMAT = 1
"""Version of the JSON; keys are only added to it."""
READ_RUNS = 10
MARKS = {"success": ("✓", "green"), "failure": ("✗", "red"), "canceled": ("-", "dim"), None: ("-", "dim")}


@click.command()
@json_option
@home_option
@click.option("--prices", is_flag=True, help="Show instead what each embedding model costs for this library.")
def status(as_json: bool, home: str | None, prices: bool) -> None:
    """Show what is there and what is wrong; the exit code is 1 if something is.

    It reads what is stored and asks no service. To find out why something is wrong: aperture doctor. The keys of the
    JSON are explained in docs/status.md.
    """
    with operator_errors():
        settings = settings_of_home(home)
        if prices:
            _show_prices(settings, as_json=as_json)
            return
        found = read_status(settings, now=Clock().now())
        wrong = find_wrong(found)
    if as_json:
        echo_json(as_document(settings, found, wrong))
    else:
        _print(settings, found, wrong, Terminal())
    sys.exit(1 if wrong else 0)


def read_status(settings: Settings, *, now: datetime) -> Status:
    """Read the state of an installation. It starts no run, and writes nothing but what starting the server takes."""
    existing = next(path for path in (settings.home_path, *settings.home_path.parents) if path.exists())
    state: dict[str, Any] = {
        "at": now,
        "is_demo": settings.media_server_url is None,
        "up_is_running": up_is_running(settings.home_path),
        "free_bytes": shutil.disk_usage(existing).free,
    }
    try:
        with read_only(settings) as connection:
            state |= _read_product(connection, settings, now)
        backups = read_backups(backup_folder(settings))
        state["backups"] = len(backups)
        state["proven_backups"] = [one.day for one in backups if one.is_proven]
        # The first one is made in the night after the installation.
        is_new = all(elapsed(user.first_seen_at, now) < timedelta(days=1) for user in state["users"])
        state["backups_wrong"] = None if is_new and not backups else why_overdue(settings, backups, now)
        state["backups_wrong"] = why_lost(settings) or state["backups_wrong"]
        instance = _read_instance(settings, now)
        state |= instance | {"dated_in_future": state["dated_in_future"] + instance["dated_in_future"]}
    except NothingYet as error:
        state["storage_wrong"] = f"{error} {how_to_begin(settings)}"
    except DatabaseError as error:
        state["storage_wrong"] = redact(str(error), settings.secret_values())
    return Status(**state)


def _read_product(connection: Connection, settings: Settings, now: datetime) -> dict[str, Any]:
    """Read what is stored of users, titles, lists and the media server."""
    keys = {user.user_id for user in who_takes_part(settings, read_users(connection))}
    unread = unread_libraries(connection, now=now)
    return {
        "users": [
            UserState(
                row["name"],
                row["user_id"] in keys,
                row["first_seen_at"],
                row["films"],
                row["series"],
                row["listed_at"],
            )
            for row in household_rows(connection)
        ],
        **catalogue_size(connection),
        "publishing_wrong": why_unread(unread) if unread else None,
        "removals_held": [describe_held(one) for one in held_by_user(connection)],
        "server": server_identity(connection) or {},
        "server_trouble": read_trouble(connection),
        "database": {**describe_server(connection), "bytes": size_of_database(connection)},
        "dated_in_future": future_dates(connection, now=now),
        "last_day": changes_since(connection, now - timedelta(days=1)),
        "outage": recent_outage(connection, now=now),
        "forgotten_soon": describe_departures(connection, settings.forget_after_days),
        "picks_watched": picks_watched(connection, now=now, timezone=settings.schedule_timezone),
    }


def _read_instance(settings: Settings, now: datetime) -> dict[str, Any]:
    """Read what Dagster knows: runs, checks, freshness, and the parts of `aperture up`."""
    import dagster as dg

    from aperture_dagster.build import all_jobs, build_definitions
    from aperture_dagster.instance.wrong_clock import future_dates
    from aperture_dagster.sensors import freshness_makers, look_at_checks, look_at_freshness

    def clean(text: str) -> str:
        return redact(text, settings.secret_values())

    jobs = all_jobs(settings)
    checks = [key for one in build_definitions(settings).asset_checks or () for key in one.check_keys]
    with dg.DagsterInstance.get() as instance:
        up = read_parts(settings.home_path, instance)
        # Where each part is a service of its own, as in containers, a daemon is alive without `aperture up`.
        runs = up.is_running or up.schedules_fire
        looked = look_at_checks(instance, checks, patience=timedelta(seconds=1), clean=clean)
        # Without a daemon nobody evaluates the policies.
        late = look_at_freshness(instance, freshness_makers(settings, jobs), settings) if up.schedules_fire else None
        switched = {state.instigator_name: state.is_running for state in instance.all_instigator_state()}

        def next_start(job: Job) -> datetime | None:
            fires = up.schedules_fire and switched.get(f"{job.name}_schedule", settings.schedules_enabled)
            return job.next_start(now, settings) if fires else None

        return {
            "jobs": [replace(_job_state(instance, job, settings, clean), next_at=next_start(job)) for job in jobs],
            "checks": [CheckState(one.subject, bool(one.delay), one.sentence or "It failed.") for one in looked.wrong],
            "checks_passed": len(looked.well),
            "out_of_date": [one.subject for one in late.wrong] if late is not None else [],
            "parts": up.parts if runs else (),
            "up_is_running": runs,
            "ui": up.address,
            "dated_in_future": future_dates(instance, now=now),
        }


def _job_state(instance: dg.DagsterInstance, job: Job, settings: Settings, clean: Any) -> JobState:
    import dagster as dg

    from aperture_dagster.instance.runs import ENDED, ended_at
    from aperture_dagster.sensors import look_at_runs

    is_on = job.why_off(settings) is None
    records = instance.get_run_records(dg.RunsFilter(job_name=job.name), limit=READ_RUNS)
    ended = next((one for one in records if one.dagster_run.status in ENDED), None)
    is_running = any(one.dagster_run.status not in ENDED for one in records)
    if ended is None:
        keys = [dg.AssetKey(asset) for asset in job.assets]
        made = [one.timestamp for key in keys if (one := instance.get_latest_materialization_event(key)) is not None]
        made_at = datetime.fromtimestamp(max(made), UTC) if made else None
        return JobState(job.name, is_on, is_running=is_running, made_at=made_at)
    outcome: Any = ended.dagster_run.status.value.lower()
    reasons: tuple[str, ...] = ()
    if outcome == "failure":
        seen = look_at_runs(instance, [ended], [], clean=clean).wrong
        # A failed check is reported by itself.
        reasons = tuple(dict.fromkeys(one.sentence for one in seen))
    return JobState(job.name, is_on, outcome, ended_at(ended), reasons, is_running)


def as_document(settings: Settings, found: Status, wrong: Sequence[Wrong]) -> dict[str, Any]:
    """Return what `aperture status --json` prints; ``docs/status.md`` explains each key."""
    taking_part = [user for user in found.users if user.takes_part]
    dates = [user.listed_at for user in taking_part if user.listed_at is not None]
    return {
        "format": FORMAT,
        "ok": not wrong,
        "at": _iso(found.at),
        "wrong": [asdict(one) for one in wrong],
        "home": {"path": str(settings.home_path), "free_bytes": found.free_bytes, "is_demo": found.is_demo},
        "server": {
            "url": settings.media_server_url,
            **{key: found.server.get(key) for key in ("product", "version", "name")},
        },
        "up": {"is_running": found.up_is_running, "ui": found.ui, "parts": [asdict(one) for one in found.parts]},
        "users": {
            "on_server": len(found.users),
            "taking_part": len(taking_part),
            "with_list": sum(user.has_list for user in taking_part),
            "without_list": sorted(user.name for user in taking_part if not user.has_list),
        },
        "titles": {"movies": found.movies, "series": found.series, "episodes": found.episodes},
        "lists": {"newest_at": _iso(max(dates, default=None)), "oldest_at": _iso(min(dates, default=None))},
        "last_day": dict(found.last_day),
        "outage": found.outage,
        "forgotten_soon": list(found.forgotten_soon),
        "picks_watched": [asdict(one) | {"rate": one.rate} for one in found.picks_watched],
        "jobs": [
            asdict(job) | {name: _iso(getattr(job, name)) for name in ("ended_at", "next_at", "made_at")}
            for job in found.jobs
        ],
        "checks": {"passed": found.checks_passed, "not_passed": [asdict(one) for one in found.checks]},
        "out_of_date": list(found.out_of_date),
        "database": {
            "is_embedded": settings.database_url is None,
            **{key: found.database.get(key) for key in ("postgresql", "schema", "bytes")},
        },
        "backups": {
            "kept": found.backups,
            "proven": len(found.proven_backups),
            "newest_proven_on": max(found.proven_backups).isoformat() if found.proven_backups else None,
        },
        "dated_in_future": [
            {"what": one.what, "rows": one.rows, "latest_at": _iso(one.latest)} for one in found.dated_in_future
        ],
    }


def _print(settings: Settings, found: Status, wrong: Sequence[Wrong], console: Terminal) -> None:
    zone = ZoneInfo(settings.schedule_timezone)
    for name, text in _facts(settings, found, zone):
        console.print_hanging(Text.assemble((f"{name:<12}", "bold"), text), hang=12)
    jobs = [job for job in found.jobs if job.is_on or job.outcome is not None]
    if any(job.outcome is not None or job.is_running for job in jobs):
        console.print()
        width = max(len(job.name) for job in jobs)
        for job in jobs:
            before = "" if job.is_running else "never ran"
            made = f"made {_local(job.made_at, zone)} by other runs" if job.made_at else before
            words = [_local(job.ended_at, zone)] if job.ended_at else [made] * bool(made)
            words += ["running now"] * job.is_running + ["off"] * (not job.is_on)
            words += [f"next {_local(job.next_at, zone)}"] if job.next_at else []
            mark = Text(*MARKS[job.outcome])
            console.print_hanging(mark + Text(f" {job.name:<{width}}  {', '.join(words)}"), hang=width + 4)
    noted = [f"{check.name}: {check.sentence}" for check in found.checks if check.is_warning]
    future = describe_future(found.dated_in_future, found.at)
    others = {"clock": future, "outage": found.outage}
    noted += [f"{name}: {sentence}" for name, sentence in others.items() if sentence is not None]
    noted += [f"users: {sentence}" for sentence in found.forgotten_soon]
    if noted:
        console.print()
        for sentence in noted:
            console.print_hanging(Text.assemble(("! ", "yellow"), sentence))
    console.print()
    for one in wrong:
        console.print_hanging(Text.assemble(("✗ ", "red"), (one.subject, "bold"), f": {one.sentence}"))
    if wrong:
        console.print_hanging("`aperture doctor` examines connections and settings, and says what to do.", "dim")
    else:
        console.print_hanging("Nothing is wrong.", "green")


def _facts(settings: Settings, found: Status, zone: ZoneInfo) -> list[tuple[str, str]]:
    """Say what is there, a line for each subject."""
    demo = ", the demo" if found.is_demo else ""
    facts = [("home", f"{settings.home_path}, {found.free_bytes / 1e9:.1f} GB free{demo}")]
    address = f", {settings.media_server_url}" if settings.media_server_url else ""
    if found.server:
        product = f"{found.server['product']} {found.server['version']} {found.server['name']!r}"
        facts.append(("server", f"{product}{address}"))
    elif address:
        facts.append(("server", f"not read yet{address}"))
    if found.up_is_running and all(one.name != "aperture up" for one in found.parts):
        facts.append(("parts", "services of their own"))
    else:
        ui = f", the UI is at {found.ui}" if found.ui else ""
        facts.append(("aperture up", f"running{ui}" if found.up_is_running else "not running"))
    if not found.database:
        return facts
    taking_part = [user for user in found.users if user.takes_part]
    dates = [user.listed_at for user in taking_part if user.listed_at is not None]
    oldest = f", the oldest of {_local(min(dates), zone)}" if dates else ""
    lists = f"{sum(user.has_list for user in taking_part)} have a list{oldest}"
    sizes = [(found.movies, "films"), (found.series, "series"), (found.episodes, "episodes")]
    kind = "embedded" if settings.database_url is None else "APERTURE_DATABASE_URL"
    versions = f"PostgreSQL {found.database['postgresql']}, {kind}, schema {found.database['schema']}"
    newest = f", the newest of {max(found.proven_backups)}" if found.proven_backups else ""
    return [
        *facts,
        ("titles", ", ".join(counted(*size) for size in sizes)),
        ("last 24 h", describe_changes(found.last_day)),
        *(
            (f"picks, {days} d", f"watched: {said}")
            for days in PICK_DAYS
            if (said := describe_picks(found.picks_watched, days))
        ),
        ("users", f"{len(taking_part)} of {len(found.users)} take part, {lists}"),
        ("checks", f"{found.checks_passed} passed{f', {len(found.checks)} did not' if found.checks else ''}"),
        ("database", f"{versions}, {found.database['bytes'] / 1e6:,.1f} MB"),
        ("backups", f"{len(found.proven_backups)} proven{newest}"),
    ]


def _show_prices(settings: Settings, *, as_json: bool) -> None:
    """Print what each embedding model that can be configured costs for the library."""
    try:
        with read_only(settings) as connection:
            usage = estimate_usage(connection, Clock().now())
            costs = read_costs(connection, settings, usage)
            gone = why_not_offered(settings, read_offered(connection, settings.embedder_url))
    except NothingYet as error:
        raise OperatorError(f"{error} {how_to_begin(settings)}") from None
    if as_json:
        echo_json(
            {
                "format": FORMAT,
                "texts": usage.texts,
                "tokens": usage.tokens,
                "tokens_per_month": usage.tokens_per_month,
                "gone": gone,
                "models": [asdict(one) for one in costs],
            }
        )
        return
    console = Terminal()
    table = Table("Model", "Provider", box=None, padding=(0, 1))
    for heading in ("USD per\nmillion", "for the\nlibrary", "per\nmonth"):
        table.add_column(heading, justify="right", no_wrap=True)
    for one in costs:
        amounts = (shown(dollars) for dollars in (one.price, one.library, one.per_month))
        table.add_row(Text(one.model, "bold" if one.is_configured else ""), Text(one.provider), *amounts)
    console.print(table)
    console.print()
    own = next(one for one in costs if one.is_configured)
    console.print_hanging(f"Configured is {own.model}. The library has {usage.texts:,} texts, {usage.tokens:,} tokens.")
    console.print_hanging(f"Per month: {usage.why[:1].lower()}{usage.why[1:]}", "dim")
    if gone is not None:
        console.print_hanging(gone, "yellow")


def _iso(moment: datetime | None) -> str | None:
    return moment.astimezone(UTC).isoformat(timespec="seconds") if moment is not None else None


def _local(moment: datetime, zone: ZoneInfo) -> str:
    return f"{moment.astimezone(zone):%Y-%m-%d %H:%M}"


# ``aperture alert``: prove that alerts reach the operator.


TEST = Message(
    "Aperture: a test",
    "Alerts reach this address. Problems are reported once when they begin, at most once a day while they go on, and "
    "when they are over.",
    is_good=True,
)


@click.group()
def alert() -> None:
    """Reports of problems to the addresses of APERTURE_ALERT_URLS."""


@alert.command()
def test() -> None:
    """Send a message to each address, and show whether that worked; exit code 1 if it failed for one."""
    with operator_errors():
        notifier = Notifier(load_settings())
    if not notifier.addresses:
        raise OperatorError(
            "APERTURE_ALERT_URLS is not set, so problems are only logged. Set it in the environment or in .env; "
            "docs/alerts.md has examples."
        )
    outcomes = notifier.send_to_all(TEST)
    console = Terminal()
    for address, reason in outcomes:
        mark, said = (("✓", "green"), "sent") if reason is None else (("✗", "red"), f"not sent: {reason}")
        console.print_hanging(Text.assemble(mark, f"  {address.shown}  {' '.join(said.split())}"), hang=3)
    sys.exit(any(reason is not None for _, reason in outcomes))
