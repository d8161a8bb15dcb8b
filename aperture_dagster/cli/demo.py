"""The demo: the stand-ins and a whole cycle of real runs on them, with what came of it."""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from aperture_dagster.errors import OperatorError
from aperture_dagster.settings import PREFIX, Settings, load_settings, project_root

if TYPE_CHECKING:
    import dagster as dg
    from rich.console import Console
    from rich.progress import Progress

# In the order in which a new installation needs them; the second part says what a run is about.
CYCLE = (
    ("sync_users", "whole"),
    ("sync_movies", "whole"),
    ("sync_series", "whole"),
    ("enrich_metadata", "whole"),
    ("enrich_studio_logos", "whole"),
    ("enrich_mdblist", "whole"),
    ("generate_embeddings", "whole"),
    ("sync_watch_history", "users"),
    ("generate_recommendations", "users"),
    ("refresh_top_picks", "day"),
)
Server = Literal["jellyfin", "emby"]
SERVERS: tuple[Server, ...] = get_args(Server)
SERVICES = {
    "media_server": ("users", "movies", "series", "episodes", "watch_history"),
    "tmdb": ("tmdb_metadata", "studio_logos"),
    "omdb": ("omdb_ratings",),
    "mdblist": ("mdblist_scores",),
    "embeddings": ("embeddings",),
}
ASSETS = {asset for assets in SERVICES.values() for asset in assets} | {
    "enriched_metadata",
    "taste_profiles",
    "recommendations",
    "top_picks",
}
# Settings that name real services, things of a real server, and the databases that hold what was read from it.
OF_A_REAL_SERVER = tuple(
    PREFIX + name
    for name in (
        "MEDIA_SERVER_", "TMDB_", "OMDB_", "MDBLIST_", "EMBEDDER", "LIBRARIES", "EXCLUDE_", "INCLUDE_", "USER_EMAILS",
        "HOME", "CONFIG", "DATABASE_URL", "DAGSTER_DATABASE_URL",
    )
)  # fmt: skip
START_SECONDS = 60
STAND_INS, LOCK = "stand-ins-", "lock"
# Enough for any world in one day; the real services give 1,000.
REQUESTS_A_DAY = 1_000_000
SHOWN_USERS, SHOWN_PICKS = 3, 10


class DemoFailed(OperatorError):
    """The demo could not be run; the message says why."""


@dataclass(slots=True)
class Demo:
    """What a cycle gave, as it goes into the summary."""

    seconds: dict[str, float] = field(default_factory=dict)
    requests: dict[str, int] = field(default_factory=dict)
    rows_written: dict[str, int] = field(default_factory=dict)


@contextlib.contextmanager
def stand_ins(home: Path, world: str, users: int | None, server: Server = "jellyfin") -> Iterator[dict[str, str]]:
    """Run the stand-ins as a process of their own until the block ends; it ends by itself when this process dies.

    What it writes is kept in ``home``, where nothing is left lying about even by a kill.

    Yields the environment that points every service at them, with ``server`` as the media server.

    Raises:
        DemoFailed: they did not come up, with what they said.
    """
    from aperture_dagster.simulator.environment import environment
    from aperture_dagster.simulator.settings import SimulatorSettings

    allowing = SimulatorSettings(omdb_daily_limit=REQUESTS_A_DAY, mdblist_daily_limit=REQUESTS_A_DAY)
    with _folder_of_its_own(home) as folder:
        port_file = Path(folder) / "port"
        command = [sys.executable, "-m", "aperture_dagster.simulator", "--world", world]
        command += ["--port-file", str(port_file), "--parent-pid", str(os.getpid())]
        for service in ("omdb", "mdblist"):
            command += [f"--{service}-daily-limit", str(REQUESTS_A_DAY)]
        command += ["--users", str(users)] if users is not None else []
        with (Path(folder) / "log").open("w+b") as log:
            process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, start_new_session=True)
            try:
                deadline = time.monotonic() + START_SECONDS
                while not port_file.exists():
                    if process.poll() is not None or time.monotonic() > deadline:
                        log.seek(0)
                        said = log.read().decode("utf-8", "replace").strip().splitlines()
                        raise DemoFailed(f"The stand-ins did not start: {said[-1] if said else 'no answer in time'}")
                    time.sleep(0.02)
                root = f"http://127.0.0.1:{port_file.read_text().strip()}"
                yield environment(root, server, allowing)
            finally:
                process.send_signal(signal.SIGTERM)
                try:
                    process.wait(timeout=10)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()


@contextlib.contextmanager
def _folder_of_its_own(home: Path) -> Iterator[str]:
    """A temporary folder in the home, locked while its demo lives; those that killed demos left are removed."""
    from aperture_dagster.storage import locks

    home.mkdir(parents=True, exist_ok=True)
    one_at_a_time = locks.acquire(home / f".{STAND_INS}lock")
    assert one_at_a_time is not None
    try:
        for folder in home.glob(f"{STAND_INS}*"):
            if not locks.is_held(folder / LOCK):
                shutil.rmtree(folder, ignore_errors=True)
        temporary = tempfile.TemporaryDirectory(prefix=STAND_INS, dir=home)
        held = locks.acquire(Path(temporary.name) / LOCK)
        assert held is not None
    finally:
        locks.release(one_at_a_time)
    try:
        with temporary as folder:
            yield folder
    finally:
        locks.release(held)


def demo_home(home: str | None, server: Server = "jellyfin") -> Path:
    """Where the demo keeps everything: as asked, or ``demo`` in the operator's own home, apart from what is there.

    A home belongs to one server, so the demo on another has one of its own.
    """
    if home:
        return Path(home).expanduser().resolve()
    own = Path(os.environ.get(PREFIX + "HOME") or project_root() / ".aperture").expanduser()
    return (own / ("demo" if server == "jellyfin" else f"demo-{server}")).resolve()


def run_cycle(settings: Settings, console: Console) -> Demo:
    """Materialize the whole graph through real Dagster runs, saying how it goes.

    Raises:
        DemoFailed: a run failed, with the step and the reason.
    """
    import dagster as dg

    from aperture_dagster.build import build_definitions
    from aperture_dagster.instance.dead_runs import end_dead_runs

    demo = Demo()
    bar = _progress_bar(console)
    definitions = build_definitions(settings, loggers={"console": _console_logger(console, bar)})
    with bar, dg.DagsterInstance.get() as instance:
        # A demo that was killed; without a daemon nobody else says that it is over.
        end_dead_runs(instance, settings)
        for name, about in CYCLE:
            _run(definitions, instance, name, about, settings, demo)
    sent = demo.requests
    names = {"media_server": settings.media_server_type}
    demo.requests = {
        names.get(service, service): sum(sent.get(asset, 0) for asset in assets) for service, assets in SERVICES.items()
    }
    return demo


def _run(
    definitions: dg.Definitions, instance: dg.DagsterInstance, name: str, about: str, settings: Settings, demo: Demo
) -> None:
    from datetime import datetime
    from zoneinfo import ZoneInfo

    from aperture_dagster.schedules import all_users_tags
    from aperture_dagster.sensors import failure_reason

    job = definitions.resolve_job_def(name)
    partition, tags = None, None
    if about == "day":
        partition = datetime.now(ZoneInfo(settings.schedule_timezone)).date().isoformat()
    if about == "users":
        tags = all_users_tags(instance)
        if tags is None:
            raise DemoFailed("The server has no user who takes part.")
    result = job.execute_in_process(
        instance=instance,
        partition_key=partition,
        tags=tags,
        raise_on_error=False,
        run_config={"loggers": {"console": {}}},
    )
    for event in result.all_events:
        if event.is_step_failure:
            raise DemoFailed(f"{event.step_key} failed: {failure_reason(event.step_failure_data)}")
        if event.is_step_success and event.step_key is not None:
            duration = event.step_success_data.duration_ms / 1000
            if event.step_key in ASSETS:
                demo.seconds[event.step_key] = round(duration, 3)
        if event.is_step_materialization:
            materialization = event.step_materialization_data.materialization
            asset = materialization.asset_key.to_user_string()
            for key, into in (("rows_written", demo.rows_written), ("requests", demo.requests)):
                value = materialization.metadata.get(key)
                into[asset] = into.get(asset, 0) + int(getattr(value, "value", 0) or 0)
    if not result.success:
        raise DemoFailed(f"{name} failed.")


def _progress_bar(console: Console) -> Progress:
    """A bar over the assets of the cycle, with what is being made; it leaves no trace when it ends."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    bar = Progress(*columns, console=console, transient=True)
    bar.add_task("starting", total=len(ASSETS))
    return bar


def _console_logger(console: Console, bar: Progress) -> dg.LoggerDefinition:
    """A logger that tells a person at a terminal what the runs are doing, in a few lines."""
    import dagster as dg

    warned: set[str] = set()

    class Teller(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            meta = getattr(record, "dagster_meta", {}) or {}
            event, step = meta.get("dagster_event"), meta.get("step_key")
            if event is not None and event.is_step_start and step in ASSETS:
                bar.update(bar.task_ids[0], description=step)
            elif event is not None and event.is_step_success and step in ASSETS:
                bar.advance(bar.task_ids[0])
                mark = "[yellow]![/]" if step in warned else "[green]✓[/]"
                console.print(f"  {mark} {step:<20} {event.step_success_data.duration_ms / 1000:6.1f} s")
            elif event is None and step is not None and record.levelno >= logging.INFO:
                said = str(meta.get("orig_message", record.getMessage()))
                if record.levelno >= logging.WARNING:
                    warned.add(step)
                style = "yellow" if record.levelno >= logging.WARNING else "dim"
                console.print(f"    {step}: {said}", style=style, markup=False, highlight=False)

    def make(_: dg.InitLoggerContext) -> logging.Logger:
        logger = logging.getLogger("aperture.demo")
        logger.handlers = [Teller()]
        logger.setLevel(logging.DEBUG)
        logger.propagate = False
        return logger

    return dg.LoggerDefinition(make, description="The demo's progress on the terminal.")


def summarize(settings: Settings, demo: Demo) -> dict[str, Any]:
    """The summary: how much there is, every user's list, Top Picks, and what the cycle cost."""
    from datetime import datetime
    from zoneinfo import ZoneInfo

    from aperture_dagster.resources.providers import Database
    from aperture_dagster.storage.catalogue import catalogue_size
    from aperture_dagster.storage.history import count_plays
    from aperture_dagster.storage.lists import recommendation_table, top_picks_table
    from aperture_dagster.storage.people import read_users

    today = datetime.now(ZoneInfo(settings.schedule_timezone)).date()
    with Database(settings).transaction() as connection:
        users = [user for user in read_users(connection) if not user.gone]
        lists = {user.name: recommendation_table(connection, user.user_id) for user in users if not user.is_disabled}
        picks = top_picks_table(connection, today)
        sizes = catalogue_size(connection)
        plays = count_plays(connection)
    return {
        "users": len(users),
        **sizes,
        "plays": plays,
        "recommendations": {name: [recommendation_entry(row) for row in rows] for name, rows in lists.items()},
        "top_picks": {
            kind: [
                {key: value for key, value in row.items() if key != "media_type"}
                for row in picks
                if row["media_type"] == kind
            ]
            for kind in ("movie", "series")
        },
        "seconds": demo.seconds,
        "requests": demo.requests,
        "rows_written": demo.rows_written,
    }


def recommendation_entry(row: dict[str, Any]) -> dict[str, Any]:
    """A recommendation as it stands in the summary."""
    from aperture_dagster.storage.lists import reason

    return {
        "media_type": row["media_type"],
        "title": row["title"],
        "year": row["year"],
        "tmdb_id": row["tmdb_id"],
        "imdb_id": row["imdb_id"],
        "score": round(row["score"], 4),
        "because": reason(row["because"]),
    }


def show(settings: Settings, summary: dict[str, Any], console: Console) -> None:
    """Print what makes a person want this."""
    from rich.table import Table
    from rich.text import Text

    from aperture_dagster.resources.providers import Database
    from aperture_dagster.storage.lists import profile_table
    from aperture_dagster.storage.people import read_users

    def title(row: Mapping[str, Any]) -> Text:
        return Text(f"{row['title']} ({row['year']})" if row["year"] else row["title"])

    console.print()
    picks = Table(title="Top Picks: what this household watches", title_justify="left", title_style="bold")
    for column in ("", "Film", "Viewers", "Series", "Viewers"):
        picks.add_column(column, justify="right" if column in ("", "Viewers") else "left")
    films, shows = summary["top_picks"]["movie"], summary["top_picks"]["series"]
    for place in range(max(len(films), len(shows))):
        cells: list[str | Text] = [str(place + 1)]
        for entries in (films, shows):
            cells += [title(entries[place]), str(entries[place]["viewers"])] if place < len(entries) else ["", ""]
        picks.add_row(*cells)
    console.print(picks)

    with Database(settings).transaction() as connection:
        users = [user for user in read_users(connection) if not user.gone and not user.is_disabled]
        tastes = {user.name: profile_table(connection, [user.user_id]) for user in users}
    # Those with most to tell.
    known = sorted(users, key=lambda user: -sum(row["titles"] for row in tastes[user.name]))[:SHOWN_USERS]
    for user in known:
        console.print()
        console.print(Text(user.name, style="bold"))
        for row in tastes[user.name]:
            if row["titles"]:
                console.print(Text(f"  {'films' if row['media_type'] == 'movie' else 'series'}: {row['taste']}", "dim"))
        table = Table(show_header=False, box=None, padding=(0, 1))
        entries = summary["recommendations"][user.name]
        films = [row for row in entries if row["media_type"] == "movie"]
        shows = [row for row in entries if row["media_type"] == "series"]
        chosen = films[: SHOWN_PICKS - min(3, len(shows))] + shows[: min(3, len(shows))]
        for row in chosen[:SHOWN_PICKS]:
            kind = "film" if row["media_type"] == "movie" else "series"
            table.add_row(Text(kind, "dim"), title(row), Text(row["because"], "dim"))
        console.print(table)
    console.print()
    console.print(
        f"{summary['movies']:,} films, {summary['series']:,} series, {summary['episodes']:,} episodes, "
        f"{summary['users']:,} users, {summary['plays']:,} plays; "
        f"{sum(summary['rows_written'].values()):,} rows written, {sum(summary['requests'].values()):,} requests sent.",
        highlight=False,
    )


def point_at(environment: dict[str, str], home: Path) -> Settings:
    """Make this process and its children work in ``home`` with the given environment; returns the settings.

    What the operator's environment says of a real server or database is out of play: a demo never touches it.
    """
    for name in list(os.environ):
        # Settings are read from names in small letters, too.
        if name.upper().startswith(OF_A_REAL_SERVER):
            del os.environ[name]
    os.environ.update(environment)
    os.environ[PREFIX + "HOME"] = str(home)
    os.environ[PREFIX + "CONFIG"] = os.devnull
    os.environ["DAGSTER_HOME"] = str(project_root())
    return load_settings()
