"""What is wrong with an installation, judged by its state; and why a user has no list."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import Any, Literal
from zoneinfo import ZoneInfo

from sqlalchemy import Connection

from aperture_dagster.catalogue.people import User, who_takes_part
from aperture_dagster.catalogue.server_trouble import Trouble
from aperture_dagster.catalogue.stored_users import read_users
from aperture_dagster.facts import read_fact, write_fact
from aperture_dagster.model import FutureDates, counted, elapsed, listed
from aperture_dagster.postgres.queries import execute, read_rows
from aperture_dagster.publishing.manifest import unread_libraries
from aperture_dagster.publishing.server.outcomes import some, why_unread
from aperture_dagster.ratings.merge import describe_held
from aperture_dagster.ratings.removals import held_by_user
from aperture_dagster.settings import Settings
from aperture_dagster.taste.crowd import count_active_people, crowd_advice

LEAST_FREE_BYTES = 1_000_000_000
# The first list of a newcomer is made within minutes, and asked for again if that failed.
NEWCOMER = timedelta(hours=1)
NAMED_PICKS = 5
# A server that restarts does not answer for a moment.
SILENCE = timedelta(minutes=5)

NO_TITLES = "No film or series has been read from the media server yet."
Outcome = Literal["success", "failure", "canceled"]
State = Literal["ok", "off", "warning", "failed"]


@dataclass(frozen=True, slots=True)
class UserState:
    """A user of the media server, and their lists: how many titles, and when they last changed."""

    name: str
    takes_part: bool
    first_seen_at: datetime
    films: int
    series: int
    listed_at: datetime | None

    @property
    def has_list(self) -> bool:
        """Whether anything is recommended to them."""
        return self.films + self.series > 0


@dataclass(frozen=True, slots=True)
class JobState:
    """A job: whether it is in use, its last run that ended, whether one is queued or in progress now, and the next one
    by the clock; of one that never ended, when other runs last made an asset of it."""

    name: str
    is_on: bool
    outcome: Outcome | None = None
    ended_at: datetime | None = None
    reasons: tuple[str, ...] = ()
    is_running: bool = False
    next_at: datetime | None = None
    made_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class CheckState:
    """A check whose last result is not "passed"; a warning holds nothing up."""

    name: str
    is_warning: bool
    sentence: str


@dataclass(frozen=True, slots=True)
class PartState:
    """A part of ``aperture up``, its state, and what was found or what to do."""

    name: str
    state: State
    message: str


@dataclass(frozen=True, slots=True)
class PicksWatched:
    """What a user watched to the end within some days: how many titles, and which of them were on their list then."""

    user: str
    days: int
    titles: int
    picks: tuple[str, ...]

    @property
    def rate(self) -> float | None:
        """The share of picks among the watched titles, 0-1; None if nothing was watched."""
        return round(len(self.picks) / self.titles, 3) if self.titles else None


@dataclass(frozen=True, slots=True)
class Status:
    """The state of an installation.

    Attributes:
        at: when it was looked at.
        is_demo: no media server is configured, so nothing has to run.
        up_is_running: whether ``aperture up`` runs on the home, or its parts do as services.
        removals_held: sentences about users whose removed ratings are held back.
        out_of_date: assets older than their freshness policy allows.
        backups_wrong: why the backups are not as they should be; None if they are.
        server_trouble: why the media server could not be used when it was asked last; None if it could.
        storage_wrong: why the database could not be read; None if it could. Then much else is unknown.
        publishing_wrong: what the media server should show and does not; None: nothing.
        dated_in_future: what a clock that was ahead has written. It holds nothing up, and so nothing is wrong.
        server: product, version and name of the media server, as of the last time that it was read.
        database: versions and size.
        last_day: what has changed within a day, as of :func:`changes_since`.
        picks_watched: per user and period, by the names of the users.
        outage: what an outage meant that ended within a day.
        forgotten_soon: sentences about users who left, and will be forgotten.
        proven_backups: the day of each.
        ui: address of the UI, if it runs.
    """

    at: datetime
    is_demo: bool
    up_is_running: bool
    free_bytes: int
    parts: Sequence[PartState] = ()
    users: Sequence[UserState] = ()
    movies: int = 0
    series: int = 0
    episodes: int = 0
    jobs: Sequence[JobState] = ()
    checks: Sequence[CheckState] = ()
    removals_held: Sequence[str] = ()
    out_of_date: Sequence[str] = ()
    backups_wrong: str | None = None
    server_trouble: Trouble | None = None
    storage_wrong: str | None = None
    publishing_wrong: str | None = None
    dated_in_future: Sequence[FutureDates] = ()
    # Shown, but not judged.
    server: Mapping[str, Any] = field(default_factory=dict)
    database: Mapping[str, Any] = field(default_factory=dict)
    last_day: Mapping[str, int] = field(default_factory=dict)
    picks_watched: Sequence[PicksWatched] = ()
    outage: str | None = None
    forgotten_soon: Sequence[str] = ()
    checks_passed: int = 0
    backups: int = 0
    proven_backups: Sequence[date] = ()
    ui: str | None = None


@dataclass(frozen=True, slots=True)
class Wrong:
    """Something that is wrong: what it is about, and a sentence."""

    subject: str
    sentence: str = field(compare=False)


def find_wrong(status: Status) -> list[Wrong]:
    """Return what is wrong, the most basic first. A demo runs nothing by itself, so nothing in it can be late."""
    found = []
    if status.storage_wrong is not None:
        found.append(Wrong("database", status.storage_wrong))
    if status.free_bytes < LEAST_FREE_BYTES:
        found.append(
            Wrong("disk", f"Only {status.free_bytes / 1e9:.1f} GB are free: make room, or set APERTURE_HOME elsewhere.")
        )
    if not status.is_demo and not status.up_is_running:
        found.append(
            Wrong("aperture up", "It does not run, so nothing is read, made or published: start `aperture up`.")
        )
    found += [Wrong(part.name, part.message) for part in status.parts if part.state == "failed"]
    if status.storage_wrong is not None:
        return found
    trouble = status.server_trouble
    if trouble is not None and (trouble.kind != "silence" or elapsed(trouble.since, status.at) >= SILENCE):
        found.append(Wrong("media server", trouble.sentence))
    if not status.movies + status.series:
        found.append(Wrong("titles", NO_TITLES))
    found += _without_list(status)
    for job in status.jobs:
        if job.is_on and job.outcome == "failure":
            found.append(Wrong(job.name, " ".join(job.reasons) or "Its last run failed."))
    found += [Wrong("ratings", sentence) for sentence in status.removals_held]
    found += [Wrong(check.name, check.sentence) for check in status.checks if not check.is_warning]
    if status.publishing_wrong is not None:
        found.append(Wrong("publishing", status.publishing_wrong))
    if not status.is_demo:
        found += [Wrong(asset, "It is out of date.") for asset in status.out_of_date]
        if status.backups_wrong is not None:
            found.append(Wrong("backups", status.backups_wrong))
    return found


def _without_list(status: Status) -> list[Wrong]:
    """Report users who should have a list by now."""
    if not status.movies + status.series:
        return []
    names = [
        user.name
        for user in status.users
        if user.takes_part
        and not user.has_list
        and (status.is_demo or elapsed(user.first_seen_at, status.at) > NEWCOMER)
    ]
    if not names:
        return []
    return [Wrong("lists", f"No list has been made for {some(names)}.")]


def why_no_list(user: User, *, takes_part: bool, titles: int, is_demo: bool, up_is_running: bool) -> str:
    """Say why a user has no list, and when it comes.

    ``up_is_running``: whether ``aperture up`` runs on the home, or its parts may, as services.
    """
    if user.gone:
        return f"{user.name} is no longer on the media server; what is known of them is kept."
    if not takes_part and user.is_disabled:
        return f"{user.name} does not take part, because the account is disabled on the media server."
    if not takes_part:
        return f"{user.name} does not take part: see APERTURE_INCLUDE_USERS and APERTURE_EXCLUDE_USERS."
    reason = f"No list has been made for {user.name} yet." if titles else NO_TITLES
    if is_demo:
        return f"{reason} Run `aperture demo`."
    if up_is_running:
        return f"{reason} It comes within minutes; `aperture status` says if something prevents it."
    return f"{reason} Start `aperture up`, which makes it at once."


# What is there, in a few figures and for one user: for people and monitors who only look.


def household_rows(connection: Connection) -> list[dict[str, Any]]:
    """Return each present user with the lengths and the date of their lists."""
    statement = """
        SELECT u.user_id, u.name, u.first_seen_at,
        count(r.rank) FILTER (WHERE r.media_type = 'movie') AS films,
        count(r.rank) FILTER (WHERE r.media_type = 'series') AS series, max(r.generated_at) AS listed_at
        FROM present_users u LEFT JOIN recommendations r USING (user_id)
        GROUP BY u.user_id, u.name, u.first_seen_at ORDER BY u.name"""
    return read_rows(connection, statement)


def changes_since(connection: Connection, since: datetime) -> dict[str, int]:
    """Count the titles that were added since then, the plays and who played, and the users whose list changed."""
    statement = """
        SELECT (SELECT count(DISTINCT work_id) FROM titles WHERE first_seen_at > :since) AS titles_added,
        (SELECT count(*) FROM plays WHERE played_at > :since) AS plays,
        (SELECT count(DISTINCT user_id) FROM plays WHERE played_at > :since) AS viewers,
        (SELECT count(DISTINCT user_id) FROM recommendations WHERE generated_at > :since) AS lists_changed"""
    (row,) = read_rows(connection, statement, since=since)
    return row


def describe_changes(changes: Mapping[str, int]) -> str:
    """Say what :func:`changes_since` has counted."""
    viewers = counted(changes["viewers"], "users")
    parts = [
        (changes["titles_added"], f"{counted(changes['titles_added'], 'titles')} added"),
        (changes["plays"], f"{counted(changes['plays'], 'plays')} by {viewers}"),
        (changes["lists_changed"], f"{counted(changes['lists_changed'], 'lists')} changed"),
    ]
    return ", ".join(text for count, text in parts if count) or "nothing new"


PICK_DAYS = (7, 30)


def picks_watched(connection: Connection, *, now: datetime, timezone: str) -> list[PicksWatched]:
    """Return for each present user and each of :data:`PICK_DAYS` what was watched; ``timezone`` is that of the lists.

    A film counts as watched once it was finished, a series once an episode was. What was watched before the first list
    could not be a pick, and does not count.
    """
    statement = """
        WITH picks AS (
          SELECT user_id, work_id, listed_since, NULL AS left_at FROM recommendations
          UNION ALL SELECT user_id, work_id, listed_since, left_at FROM past_picks),
        watched AS (
          SELECT user_id, days, work_id, bool_or(EXISTS (
            SELECT 1 FROM picks k WHERE (k.user_id, k.work_id) = (p.user_id, p.work_id)
            AND (p.played_at AT TIME ZONE :zone)::date >= k.listed_since
            AND p.played_at <= coalesce(k.left_at, p.played_at))) AS is_pick
          FROM unnest(CAST(:days AS int[])) AS days
          JOIN plays p ON p.played_at > :now - make_interval(days => days) AND p.played_at <= :now
          JOIN (SELECT user_id, min(listed_since) AS since FROM picks GROUP BY user_id) f USING (user_id)
          WHERE (p.played_at AT TIME ZONE :zone)::date >= f.since
          -- Who breaks off and goes on tomorrow began with the pick, which has left the list by then.
          GROUP BY user_id, days, work_id HAVING bool_or(p.play_count > 0))
        SELECT u.name, days, count(w.work_id) AS titles,
        coalesce(array_agg(n.title ORDER BY n.title) FILTER (WHERE is_pick AND n.title IS NOT NULL), '{}') AS picks
        FROM present_users u CROSS JOIN unnest(CAST(:days AS int[])) AS days
        LEFT JOIN watched w USING (user_id, days) LEFT JOIN work_names n USING (work_id)
        GROUP BY u.user_id, u.name, days ORDER BY lower(u.name), u.user_id, days"""
    rows = execute(connection, statement, now=now, zone=timezone, days=list(PICK_DAYS))
    return [PicksWatched(row.name, row.days, row.titles, tuple(row.picks)) for row in rows]


def describe_picks(rows: Iterable[PicksWatched], days: int) -> str:
    """Say who watched how many picks within so many days, and which, if they are few; users who watched nothing are
    left out."""
    said = []
    for row in rows:
        if row.days == days and row.titles:
            names = f" ({listed(row.picks)})" if 0 < len(row.picks) <= NAMED_PICKS else ""
            said.append(f"{row.user} {len(row.picks)} of {counted(row.titles, 'titles')}{names}")
    return ", ".join(said)


OUTAGE = "outage"
OUTAGE_SHOWN = timedelta(days=1)


def note_outage(connection: Connection, sentence: str, *, now: datetime) -> None:
    """Remember what an outage meant that has just ended."""
    write_fact(connection, OUTAGE, {"ended_at": now.isoformat(), "sentence": sentence})


def recent_outage(connection: Connection, *, now: datetime) -> str | None:
    """Return what an outage meant that ended within a day; None if there was none."""
    noted = read_fact(connection, OUTAGE)
    if noted is None or elapsed(datetime.fromisoformat(noted["ended_at"]), now) >= OUTAGE_SHOWN:
        return None
    return noted["sentence"]


def describe_household(
    connection: Connection, settings: Settings, *, since: datetime, now: datetime
) -> tuple[list[str], list[str]]:
    """Say what the household has got since a moment, and what waits for the operator, each in sentences."""
    zone = settings.schedule_timezone
    keys = {user.user_id for user in who_takes_part(settings, read_users(connection))}
    members = [row for row in household_rows(connection) if row["user_id"] in keys]
    missing = [row["name"] for row in members if not row["films"] + row["series"]]
    ready = f"{len(members) - len(missing)} of {counted(len(members), 'users')} have a list"
    day, changes = since.astimezone(ZoneInfo(zone)), describe_changes(changes_since(connection, since))
    picks = describe_picks(picks_watched(connection, now=now, timezone=zone), PICK_DAYS[0])
    got = [
        f"{ready}; none has been made for {listed(missing)}." if missing else f"{ready}.",
        f"Since {day:%a %d %b, %H:%M}: {changes}.",
        f"Picks watched within {counted(PICK_DAYS[0], 'days')}: {picks or 'none'}.",
    ]
    unread = unread_libraries(connection, now=now)
    waiting = [describe_held(one) for one in held_by_user(connection)] + ([why_unread(unread)] if unread else [])
    if (advice := crowd_advice(settings, count_active_people(connection, settings, now=now))) is not None:
        waiting.append(advice)
    return got, waiting
