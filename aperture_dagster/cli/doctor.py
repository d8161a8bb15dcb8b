"""``aperture doctor``: examine everything that a working system needs, and say what to do about what is wrong."""

import contextlib
import difflib
import logging
import os
import shutil
import sys
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import timedelta
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

import click
from rich.text import Text

from aperture_dagster.alerts import Notifier
from aperture_dagster.catalogue.access import hidden_from
from aperture_dagster.catalogue.items import choose_libraries
from aperture_dagster.catalogue.people import User, as_listed, read_users, users_named, who_takes_part
from aperture_dagster.catalogue.queries import catalogue_size
from aperture_dagster.catalogue.references import nearest_users
from aperture_dagster.catalogue.servers import MediaServers
from aperture_dagster.cli.common import Terminal, echo_json, json_option, operator_errors, require_writable
from aperture_dagster.cli.demo import home_option, settings_to_act_with
from aperture_dagster.cli.heartbeats import read_parts
from aperture_dagster.discovery.seerr import SEERR, comparable_id, why_not_configured
from aperture_dagster.enrichment.sources import SOURCES, TitleSource
from aperture_dagster.front_door.proxies import Proxies
from aperture_dagster.http.errors import QuotaSpent, ServiceError, ServiceNotConfigured, redact
from aperture_dagster.http.home_network import certificate_dates, describe_route
from aperture_dagster.http.messages import Request
from aperture_dagster.instance.home import use_dagster_home
from aperture_dagster.maintenance.status import LEAST_FREE_BYTES, State, future_dates
from aperture_dagster.media_server.jellyfin import HomeScreen
from aperture_dagster.media_server.records import ServerLibrary, ServerUser
from aperture_dagster.model import SKEW, Clock, counted, describe_future, duration, listed
from aperture_dagster.model.errors import MissingPrerequisite, OperatorError
from aperture_dagster.postgres.backup import backup_folder, is_in_container, read_backups, why_lost, why_overdue
from aperture_dagster.postgres.connection import describe_server
from aperture_dagster.postgres.database import Database
from aperture_dagster.postgres.errors import DatabaseError
from aperture_dagster.postgres.queries import database_time
from aperture_dagster.publishing.home_rows import examine_rows
from aperture_dagster.publishing.preflight import examine_publishing
from aperture_dagster.publishing.published import Manifest, published_library_ids
from aperture_dagster.publishing.roots import Roots, root_choice
from aperture_dagster.publishing.work import some
from aperture_dagster.ratings.accounts import TraktAccounts
from aperture_dagster.settings import Settings, environment_names, misspelt_variables
from aperture_dagster.settings.home import describe_configuration
from aperture_dagster.taste.embedder import Embedders
from aperture_dagster.worklist.services import MeteredService

NAMES = 12
"""Columns of the names of what is examined."""

MARKS: dict[State, tuple[str, str]] = {
    "ok": ("✓", "green"),
    "off": ("-", "dim"),
    "warning": ("!", "yellow"),
    "failed": ("✗", "red"),
}
ENDS_SOON = timedelta(days=14)
MOST_PROXIES = 3
"""Of those that are not trusted: clients can make themselves look like many."""
WORST_FIRST: tuple[State, ...] = ("failed", "warning", "ok", "off")


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was examined, its state, and what was found or what to do."""

    what: str
    state: State
    message: str


FORMAT = 1
"""Version of the JSON; keys are only added to it."""


@click.command()
@json_option
@home_option
def doctor(as_json: bool, home: str | None) -> None:
    """Examine everything that a working system needs, and say what to do about what is wrong.

    What is wrong comes first. The exit code is 1 if anything failed; warnings do not count.
    """
    # It logs each step of opening a database.
    logging.getLogger("alembic").setLevel(logging.WARNING)
    with operator_errors(), settings_to_act_with(home) as settings:
        findings = sorted(examine(settings), key=lambda one: WORST_FIRST.index(one.state))
    counts: Counter[State] = Counter(one.state for one in findings)
    if as_json:
        found = [asdict(one) for one in findings]
        document = {"format": FORMAT, "ok": not counts["failed"], "home": settings.home_path, "findings": found}
        echo_json(document)
        sys.exit(bool(counts["failed"]))
    console = Terminal()
    console.print_hanging(f"Examined {settings.home_path}", "bold")
    for finding in findings:
        start = Text.assemble(" ", MARKS[finding.state], f"  {finding.what:<{NAMES}}  ")
        console.print_hanging(start + Text(finding.message), hang=NAMES + 6)
    console.print()
    console.print_hanging(summary(counts), "red" if counts["failed"] else "yellow" if counts["warning"] else "green")
    sys.exit(bool(counts["failed"]))


def summary(counts: Mapping[State, int]) -> str:
    """Say how many findings there are of each state."""
    failed, warnings = counts["failed"], counts["warning"]
    wrong = [f"{failed} failed"] * bool(failed) + [counted(warnings, "warnings")] * bool(warnings)
    rest = f"{counts['ok']} fine, {counts['off']} off"
    return f"{', '.join(wrong) or 'Nothing is wrong'}; {rest}."


def examine(settings: Settings, only: Collection[str] | None = None) -> Iterator[Finding]:
    """Examine one thing after the other, or ``only`` these; the failure of one hides none of the others."""
    database, clock = Database(settings), Clock()
    # Generators: each begins its work when its turn comes.
    checks = {
        "home": _home(settings),
        "database": _database(database),
        "clock": _clock(database, clock),
        "time zone": _time_zone(settings),
        "backups": _backups(settings, clock),
        "media server": _media_server(settings, database, clock),
        "certificates": _certificates(settings, clock),
        "publishing": _publishing(settings, database),
        "proxies": _proxies(settings),
        **{source.label: _title_source(source, settings, database, clock) for source in SOURCES},
        "Seerr": _seerr(settings, database, clock),
        "Trakt": _trakt(settings, database, clock),
        "embedder": _embedder(settings),
        "alerts": _alerts(settings),
        "running": _running(settings),
    }
    for what, check in checks.items():
        if only is not None and what not in only:
            continue
        try:
            yield from check
        except ServiceNotConfigured as error:
            yield Finding(what, "failed" if what in _wanted(settings) else "off", str(error))
        except (ServiceError, OSError, OperatorError) as error:
            yield Finding(what, "failed", str(error))
        except Exception as error:
            message = " ".join(f"{type(error).__name__}: {error}".split())
            yield Finding(what, "failed", redact(message, settings.secret_values()))


def _wanted(settings: Settings) -> set[str]:
    """Return what is not just left unconfigured: for these, a missing setting is a mistake."""
    half_configured = settings.media_server_url is not None or settings.media_server_api_key is not None
    return {"embedder", *(["media server"] if half_configured else []), *(["publishing"] if settings.publish else [])}


def _home(settings: Settings) -> Iterator[Finding]:
    home = settings.home_path
    yield Finding("settings", "ok", describe_configuration())
    for name, meant in misspelt_variables(os.environ).items():
        yield Finding("settings", "warning", f"{name} is set, and no setting: did you mean {meant}?")
    require_writable(home)
    dagster_home = use_dagster_home(settings, unless_set=True)
    yield Finding("dagster", "ok", f"commands need DAGSTER_HOME={dagster_home}")
    yield room_on_disk(str(home), shutil.disk_usage(home).free)


def room_on_disk(home: str, free: int) -> Finding:
    """Judge the room on the disk of the home, in bytes."""
    message = f"{home}, {free / 1e9:.1f} GB free"
    if free >= LEAST_FREE_BYTES:
        return Finding("home", "ok", message)
    state = "failed" if free < LEAST_FREE_BYTES / 10 else "warning"
    return Finding("home", state, f"{message}: make room, or set APERTURE_HOME to a folder on another disk")


def _database(database: Database) -> Iterator[Finding]:
    with database.transaction() as connection:
        server, size = describe_server(connection), catalogue_size(connection)
    versions = f"PostgreSQL {server['postgresql']}, schema {server['schema']}"
    sizes = f"{size['movies']:,} films, {size['series']:,} series, {size['episodes']:,} episodes"
    yield Finding("database", "ok", f"{versions}; {sizes}")
    if server["is_superuser"]:
        yield Finding(
            "database role",
            "warning",
            f"the role {server['role']} of APERTURE_DATABASE_URL is a superuser of PostgreSQL, and the program needs "
            "no such right: use a role that owns the two databases (docs/backup.md, An external server)",
        )


def _clock(database: Database, clock: Clock) -> Iterator[Finding]:
    """Whether this machine and the database agree on the time, and what a clock that was ahead has written."""
    import dagster as dg

    from aperture_dagster.instance import wrong_clock

    now = clock.now()
    with database.transaction() as connection:
        apart, found = database_time(connection) - now, future_dates(connection, now=now)
    if abs(apart) > SKEW:
        yield Finding("clock", "failed", _apart("the database", apart))
    with dg.DagsterInstance.get() as instance:
        found += wrong_clock.future_dates(instance, now=now)
    sentence = describe_future(found, now)
    yield Finding("clock", "warning" if sentence else "ok", sentence or "nothing is dated in the future")


def _apart(other: str, by: timedelta) -> str:
    span = duration(abs(by).total_seconds())
    return f"the clocks of this machine and of {other} are {span} apart: set the wrong one"


def _time_zone(settings: Settings) -> Iterator[Finding]:
    """Whether the schedules have a zone that somebody chose: a container has none of its own."""
    zone = settings.schedule_timezone
    if settings.timezone is None and zone == "UTC":
        message = (
            "the schedules follow UTC, since nothing says where you are: set APERTURE_TIMEZONE, to UTC if it is right"
        )
        yield Finding("time zone", "warning", message)
    else:
        yield Finding("time zone", "ok", zone)


def _backups(settings: Settings, clock: Clock) -> Iterator[Finding]:
    """Whether the backups last, and the newest proven one is recent."""
    folder = backup_folder(settings)
    kept, lost = read_backups(folder), why_lost(settings)
    if lost is not None:
        yield Finding("backups", "failed", lost)
        return
    if not kept:
        yield Finding("backups", "off", f"none in {folder} yet; database_backup makes the first")
        return
    wrong = why_overdue(settings, kept, clock.now())
    if is_in_container(folder):
        wrong = wrong or f"{folder} is inside the container, and lost when that is updated: mount a volume."
    about = f"{sum(one.is_proven for one in kept)} proven in {folder}, the newest {kept[-1].path.name}"
    yield Finding("backups", "warning" if wrong else "ok", wrong or about)


def _media_server(settings: Settings, database: Database, clock: Clock) -> Iterator[Finding]:
    """Whether the server answers, what it has, whether its clock is right, and who may see what is read."""
    servers = MediaServers(settings, database)
    with contextlib.ExitStack() as stack:
        try:
            server = stack.enter_context(servers.open())
        except DatabaseError:
            # Reported already, and the server can be examined without it.
            server = stack.enter_context(servers.open_without_database())
        identity = server.identity()
        users, libraries = server.users(), server.libraries()
        dated = server.transport.send(Request("GET", "/System/Info/Public")).headers.get("date")
    with contextlib.suppress(ValueError, TypeError):
        apart = clock.now() - parsedate_to_datetime(dated or "")
        if abs(apart) > SKEW:
            yield Finding("clock", "failed", _apart("the media server", apart))
    names = ", ".join(one.name if one.library_id else f"{one.name} (not scanned yet)" for one in libraries) or "none"
    about = f"{identity.product} {identity.version} {identity.name!r}, {len(users.records)} users, libraries: {names}"
    yield Finding("media server", "ok" if libraries else "warning", "; ".join([about, *describe_route(settings)]))
    yield from _named_libraries(settings, [one.name for one in libraries])
    people = {one.user_id: one.name for one in users.records}
    known: list[User] = []
    ours: set[str] = set()
    with contextlib.suppress(DatabaseError), database.transaction() as connection:
        known, ours = read_users(connection), published_library_ids(connection)
    everybody = as_listed(known, people, people)
    yield from _named_users(settings, everybody)
    takes_part = {one.user_id for one in who_takes_part(settings, everybody)}
    members = [one for one in users.records if one.user_id in takes_part and not one.is_disabled]
    yield from _unseen_libraries(settings, [one for one in libraries if one.library_id not in ours], members)


def _certificates(settings: Settings, clock: Clock) -> Iterator[Finding]:
    """Whether the certificate of an address of the household's own ends soon."""
    given = (settings.media_server_url, settings.media_server_public_url, settings.seerr_url)
    for address in sorted({urlsplit(url).netloc for url in given if url is not None and url.startswith("https:")}):
        # That it cannot be reached is reported already, and its public name may lead nowhere from inside.
        with contextlib.suppress(OSError, ValueError):
            begins, ends = certificate_dates(address)
            # Some live for hours only, and are renewed as often.
            is_late = ends - clock.now() < min(ENDS_SOON, (ends - begins) / 5)
            message = f"that of {address} ends on {ends:%d %b %Y, %H:%M} UTC"
            todo = ", and is not trusted from then on: renew it there, or on the reverse proxy in front of it"
            yield Finding("certificates", "warning" if is_late else "ok", message + todo * is_late)


def _proxies(settings: Settings) -> Iterator[Finding]:
    """Whom the front door believes about clients, and who forwards requests without being trusted."""
    proxies = Proxies(settings)
    yield Finding("proxies", "ok", proxies.describe())
    for address in proxies.untrusted()[:MOST_PROXIES]:
        yield Finding("proxies", "warning", proxies.advise(address))


def _unseen_libraries(
    settings: Settings, libraries: Sequence[ServerLibrary], members: Sequence[ServerUser]
) -> Iterator[Finding]:
    """Find what is read, and may be seen by none of those who take part, or only by some."""
    read: dict[str, ServerLibrary] = {}
    for item_type in ("movie", "series"):
        # A wrong name has been reported.
        with contextlib.suppress(ServiceError, MissingPrerequisite):
            read |= {one.library_id: one for one in choose_libraries(libraries, settings, item_type).chosen}
    blind = {what: users for one in read.values() for what, users in hidden_from(members, one).items() if users}
    for what in [what for what, users in blind.items() if len(users) == len(members)]:
        del blind[what]
        message = (
            f"{what} is read, but nobody who takes part may see it: let them, on the media server, or name the library "
            "in APERTURE_EXCLUDE_LIBRARIES"
        )
        yield Finding("libraries", "warning", message)
    if not blind:
        return
    # Rows of the home screen show each user what they may see.
    is_shared = settings.publish and settings.publish_as != "rows" and "top_picks" in "".join(settings.publish_lists)
    # What children may see is limited on purpose, and so is much else that no setting of ours is about.
    adults = any(one.max_parental_rating is None for users in blind.values() for one in users)
    hidden = "; ".join(f"{what} is hidden from {some([one.name for one in users])}" for what, users in blind.items())
    everybody = ", and published Top Picks leave it out for everybody" if is_shared else ""
    message = (
        f"{hidden}. Nothing of it is recommended to them{everybody}. If that is not intended, change what they may see "
        "on the media server"
    )
    yield Finding("libraries", "warning" if adults and (is_shared or settings.libraries) else "ok", message)


def _named_libraries(settings: Settings, names: list[str]) -> Iterator[Finding]:
    """Find libraries in the settings that the server does not have; without a chosen one, films cannot be read."""
    by_name = {name.casefold(): name for name in names}
    chosen: tuple[tuple[str, State], ...] = (("libraries", "failed"), ("exclude_libraries", "warning"))
    for setting, state in chosen:
        for name in getattr(settings, setting):
            if name.casefold() not in by_name:
                near = [by_name[one] for one in difflib.get_close_matches(name.casefold(), by_name, 1)]
                yield Finding("libraries", state, _unknown(setting, name, "library on the server has", near or names))


def _named_users(settings: Settings, users: list[User]) -> Iterator[Finding]:
    """Find users in the settings whom the server does not have, and who never had that name."""
    for setting in ("include_users", "exclude_users", "user_emails"):
        for name, meant in users_named(users, getattr(settings, setting)).items():
            if not meant:
                near = [user.name for user in nearest_users(name, users)[:1]]
                yield Finding("users", "warning", _unknown(setting, name, "user has or had", near))


def _unknown(setting: str, name: str, whose: str, near: list[str]) -> str:
    hint = f"; did you mean {listed([repr(one) for one in near], conjunction='or')}?" if near else ""
    return f"{environment_names(setting)[0]} names {name!r}, but no {whose} that name{hint}"


def _publishing(settings: Settings, database: Database) -> Iterator[Finding]:
    """Whether lists can be published: the folder, how the media server sees it, and what would not play."""
    if not settings.publish:
        yield Finding("publishing", "off", "APERTURE_PUBLISH is off: nothing is written to the media server")
        return
    if settings.publish_as == "rows":
        yield _home_rows(settings, database)
        return
    if settings.publish_root is None:
        raise OperatorError("APERTURE_PUBLISH is on, but APERTURE_PUBLISH_ROOT is not set")
    with MediaServers(settings, database).open_writer() as writer:
        manifest = Manifest(database.transaction, database.connection)
        found = examine_publishing(settings, writer, Roots(manifest, root_choice(settings, database), dry_run=True))
    if found.problems:
        yield Finding("publishing", "failed", " ".join(found.problems))
    else:
        yield Finding("publishing", "warning" if found.warnings else "ok", " ".join(found.warnings) or found.about)


def _home_rows(settings: Settings, database: Database) -> Finding:
    """Whether the media server has the plugin for rows, and gets their titles."""
    today = Clock().now().astimezone(ZoneInfo(settings.schedule_timezone)).date()
    with MediaServers(settings, database).open() as server, database.transaction() as connection:
        users = who_takes_part(settings, read_users(connection))
        is_well, message = examine_rows(connection, HomeScreen(server.transport), users, today)
    return Finding("home rows", "ok" if is_well else "failed", message)


def _title_source(source: TitleSource[Any], settings: Settings, database: Database, clock: Clock) -> Iterator[Finding]:
    """Whether a source accepts the key, and how much of its quota is used."""
    service = MeteredService(source, settings, database, clock)
    if not service.configured:
        yield Finding(source.label, "off", f"{source.key_setting} is not set: {source.without_key}")
        return
    message = f"the key is accepted at {source.url(settings)}"
    try:
        _ask(service)
    except QuotaSpent as error:
        message = str(error).rstrip(".")
    if service.quota is not None:
        # That the database is down is reported already.
        with contextlib.suppress(DatabaseError):
            used, limit = service.quota.usage()
            message += f"; {used:,} of today's {limit:,} requests are used"
    yield Finding(source.label, "ok", message)


def _ask(service: MeteredService[Any]) -> Any:
    """Check a service with one request, without waiting for the run that uses it, and while the database is down."""
    with service.open_without_database() as client:
        return client.check()


def _seerr(settings: Settings, database: Database, clock: Clock) -> Iterator[Finding]:
    """Whether Seerr accepts the key, who has no user there, and what the job would do."""
    missing = why_not_configured(settings)
    if missing is not None:
        yield Finding("Seerr", "failed" if settings.requests_per_week else "off", missing)
        return
    version, accounts = _ask(MeteredService(SEERR, settings, database, clock))
    people: list[User] = []
    with contextlib.suppress(DatabaseError), database.transaction() as connection:
        people = who_takes_part(settings, read_users(connection))
    known = Counter(one.server_user_id for one in accounts)
    strangers = [one.name for one in people if not known[comparable_id(one.user_id)]]
    doubled = [one.name for one in people if known[comparable_id(one.user_id)] > 1]
    mode = f"{settings.requests_per_week} a week" if settings.requests_per_week else "off"
    message = f"{version}, the key is accepted, {len(accounts)} users; automatic requests: {mode}"
    if strangers:
        message += f"; without a user there, so nothing can be requested for them: {', '.join(strangers)}"
    if doubled:
        message += f"; with several users there, of which you keep one, or nothing is requested for {listed(doubled)}"
    yield Finding("Seerr", "warning" if strangers or doubled else "ok", message)


def _trakt(settings: Settings, database: Database, clock: Clock) -> Iterator[Finding]:
    """Whether Trakt accepts the app, and who must do something about their account."""
    accounts = TraktAccounts(settings, database, clock)
    reason = accounts.why_off()
    if reason is not None:
        yield Finding("Trakt", "off" if settings.trakt_client_id is None else "warning", reason)
        return
    accounts.check_app()
    users = [one for one in accounts.accounts() if not one.gone]
    troubled = [f"{one.name}: {one.trouble}" for one in users if one.trouble is not None]
    # A sync renews it days before it ends.
    troubled += [
        f"{one.name}: access ended on {one.expires_at:%d %b %Y}, and sync_trakt_ratings has not run to renew it"
        for one in users
        if one.trouble is None and one.expires_at < clock.now()
    ]
    about = f"the app is accepted at {settings.trakt_url}; {len(users)} users have connected"
    advice = ["`aperture trakt status` says who has to do what"] * bool(troubled)
    yield Finding("Trakt", "warning" if troubled else "ok", "; ".join([about, *troubled, *advice]))


def _embedder(settings: Settings) -> Iterator[Finding]:
    embedder = Embedders(settings).get()
    embedding = embedder.embed(["A robot learns to love."])
    if embedding.refused:
        yield Finding("embedder", "failed", embedding.refused[0])
    else:
        yield Finding("embedder", "ok", f"{embedder.name}, {embedding.vectors.shape[1]} dimensions")


def _alerts(settings: Settings) -> Iterator[Finding]:
    """Where problems are reported; nothing is sent."""
    addresses = ", ".join(address.shown for address in Notifier(settings).addresses)
    if addresses:
        yield Finding("alerts", "ok", f"{addresses}; `aperture alert test` sends a message to each")
    else:
        log = settings.home_path / "failures.log"
        yield Finding("alerts", "off", f"APERTURE_ALERT_URLS is not set: problems are only logged, in {log}")


def _running(settings: Settings) -> Iterator[Finding]:
    """What runs on the home and, if a daemon evaluates them, which schedules are switched off."""
    import dagster as dg

    from aperture_dagster.build import build_definitions

    with dg.DagsterInstance.get() as instance:
        up = read_parts(settings.home_path, instance)
        yield from (Finding(part.name, part.state, part.message) for part in up.parts)
        if not up.schedules_fire:
            return
        switched = {state.instigator_name: state.is_running for state in instance.all_instigator_state()}
    schedules = {
        one.name: switched.get(one.name, one.default_status == dg.DefaultScheduleStatus.RUNNING)
        for one in build_definitions(settings).get_repository_def().schedule_defs
    }
    off = sorted(name for name, is_on in schedules.items() if not is_on)
    about = f"{len(schedules) - len(off)} of {len(schedules)} are on"
    yield Finding("schedules", "ok", f"{about}; switched off: {', '.join(off)}" if off else about)
