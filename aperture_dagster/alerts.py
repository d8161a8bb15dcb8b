"""Messages to the operator about what is wrong: when, in which words, and to which addresses."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any, Literal
from zoneinfo import ZoneInfo

import sqlalchemy as sa
from sqlalchemy import Connection

from aperture_dagster.http.redaction import redact
from aperture_dagster.model import is_future, printable
from aperture_dagster.postgres.bulk import upsert
from aperture_dagster.postgres.queries import execute, read_rows
from aperture_dagster.postgres.tables import NAMES_USERS, Moment, between, metadata, one_of
from aperture_dagster.settings import Settings
from aperture_dagster.settings.home import secrets_in, shown_address

# Tables: the open problems, and the messages about them that each address has received.


CATEGORIES = ("run", "check", "freshness")

alert_problems = sa.Table(
    "alert_problems",
    metadata,
    sa.Column("key", sa.Text, primary_key=True, comment="category, subject and class of the cause"),
    sa.Column("category", sa.Text, nullable=False),
    sa.Column("subject", sa.Text, nullable=False, comment="asset, asset.check or job"),
    sa.Column("sentence", sa.Text, nullable=False, info=NAMES_USERS, comment="what was wrong last, and what to do"),
    sa.Column("page", sa.Text, nullable=False, comment="its page in the UI"),
    sa.Column("first_seen", Moment, nullable=False),
    sa.Column("last_seen", Moment, nullable=False),
    sa.Column("count", sa.Integer, nullable=False),
    sa.Column("report_after", Moment, nullable=False, comment="it is not reported before"),
    sa.Column("resolved_at", Moment, comment="when it was over; the row goes once that is reported"),
    one_of("category", CATEGORIES),
    between("count", 1),
    comment="Problems that are open, or were until a moment ago.",
)

alerts_told = sa.Table(
    "alerts_told",
    metadata,
    sa.Column("key", sa.Text, sa.ForeignKey("alert_problems.key", ondelete="CASCADE"), primary_key=True),
    sa.Column("address", sa.Text, primary_key=True, comment="digest of the address, which is a secret"),
    sa.Column("tried_at", Moment, nullable=False, comment="the last attempt"),
    sa.Column("told_at", Moment, comment="the last attempt that succeeded"),
    sa.Column("count", sa.Integer, nullable=False, server_default=sa.text("0"), comment="of the problem at that time"),
    comment="What each address was told about the problems.",
)


# When the operator hears about a problem, and in which words.
#
# A *problem* is what an operator perceives as one: an asset (or a job, or a check) and the class of its cause. Neither
# a run's id nor a number in a message makes another problem of it.


Category = Literal["run", "check", "freshness"]
Occasion = Literal["new", "again", "over"]

AT_ONCE = timedelta(0)
REMINDER = timedelta(days=1)
"""A reported problem that keeps happening is reported again after this time, with a count."""
SETTLED_AFTER = timedelta(hours=1)
"""A problem that returns within this time was not over: what fails and succeeds by turns is reported once."""
KEPT_WHEN_OVER = timedelta(days=1)
"""How long the product keeps trying to tell an address that a problem is over."""
RETRY_AFTER = timedelta(minutes=15)
"""An address that did not take a message is tried again after this time."""
LONGEST_SENTENCE = 300


@dataclass(frozen=True, slots=True)
class Sighting:
    """Something that was seen to be wrong.

    Args:
        subject: the asset, ``asset.check`` or job.
        cause: the class of the cause.
        sentence: what is wrong and what to do; without secrets.
        page: where it can be seen in the UI, such as ``runs/…``.
        seen_at: when it happened; a sighting that is not newer than the last one is the same one.
        delay: how long it must last before it is reported.
    """

    category: Category
    subject: str
    cause: str
    sentence: str
    page: str
    seen_at: datetime
    delay: timedelta = AT_ONCE

    @property
    def key(self) -> str:
        """The identity of the problem."""
        return f"{self.category}:{self.subject}:{self.cause}"


@dataclass(frozen=True, slots=True)
class Recovery:
    """A subject that was seen to be well."""

    category: Category
    subject: str
    seen_at: datetime


@dataclass(frozen=True, slots=True)
class Problem:
    """A problem that is open, or was until a moment ago (``resolved_at``). The fields are the columns of its table."""

    key: str
    category: Category
    subject: str
    sentence: str
    page: str
    first_seen: datetime
    last_seen: datetime
    count: int
    report_after: datetime
    resolved_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Told:
    """What an address was told about a problem: the last attempt, the last that succeeded, and the count then."""

    tried_at: datetime
    told_at: datetime | None = None
    count: int = 0


@dataclass(frozen=True, slots=True)
class Report:
    """A problem that the operator should hear about now: it is new, it happened again, or it is over."""

    occasion: Occasion
    problem: Problem


@dataclass(frozen=True, slots=True)
class Message:
    """A message, in plain text unless it ``is_html``; ``is_good`` if it reports nothing that is wrong."""

    title: str
    body: str
    is_good: bool
    is_html: bool = False


def update(
    known: Iterable[Problem],
    sightings: Iterable[Sighting],
    recoveries: Iterable[Recovery],
    *,
    told: Collection[str],
    now: datetime,
) -> list[Problem]:
    """Return the problems after what was seen; those that are over stay while somebody is to be told.

    ``told`` are the keys of problems that some address has been told about, and not yet that they are over. A problem
    that a wrong clock dated in the future counts as never seen, and an event as one of now.
    """
    problems = {one.key: one for one in known if not is_future(one.resolved_at or one.last_seen, now)}
    for event in sorted([*recoveries, *sightings], key=lambda event: event.seen_at):
        if is_future(event.seen_at, now):
            if isinstance(event, Sighting) and event.key in problems:
                # Every look sees it again.
                continue
            event = replace(event, seen_at=now)
        if isinstance(event, Sighting):
            problems[event.key] = _see(problems.get(event.key), event)
        else:
            problems |= {key: _resolve(one, event) for key, one in problems.items()}
    return [
        one
        for one in problems.values()
        if one.resolved_at is None or (one.key in told and now < one.resolved_at + KEPT_WHEN_OVER)
    ]


def _see(problem: Problem | None, sighting: Sighting) -> Problem:
    at, report_after = sighting.seen_at, sighting.seen_at + sighting.delay
    if problem is None:
        return Problem(
            sighting.key, sighting.category, sighting.subject, sighting.sentence, sighting.page, at, at, 1, report_after
        )
    if at <= problem.last_seen:
        return problem
    return replace(
        problem,
        sentence=sighting.sentence,
        page=sighting.page,
        last_seen=at,
        count=problem.count + 1,
        report_after=min(problem.report_after, report_after),
        resolved_at=None,
    )


def _resolve(problem: Problem, recovery: Recovery) -> Problem:
    concerns = (problem.category, problem.subject) == (recovery.category, recovery.subject)
    if not concerns or problem.resolved_at is not None or recovery.seen_at < problem.last_seen:
        return problem
    return replace(problem, resolved_at=recovery.seen_at)


def due(problems: Sequence[Problem], told: Mapping[str, Told], *, now: datetime) -> list[Report]:
    """Decide what one address is to be told now, from what is wrong and what it was told, by the key of the problem.

    A problem is reported after its delay; if it happens again, once more when ``REMINDER`` has passed; and when it has
    been over for ``SETTLED_AFTER``, if it was reported. What the address did not take is repeated after a while.
    """
    failing = {one.subject for one in problems if one.category == "run" and one.resolved_at is None}
    reports: list[Report] = []
    for problem in problems:
        last = told.get(problem.key)
        occasion = _occasion(problem, last, now)
        # That an asset is out of date because its runs fail is no news.
        is_explained = occasion == "new" and problem.category == "freshness" and problem.subject in failing
        if occasion is not None and not is_explained and not _must_wait(last, now):
            reports.append(Report(occasion, problem))
    return sorted(reports, key=lambda one: (("new", "again", "over").index(one.occasion), one.problem.first_seen))


def _occasion(problem: Problem, last: Told | None, now: datetime) -> Occasion | None:
    told_at = last.told_at if last is not None else None
    if problem.resolved_at is not None:
        return "over" if told_at is not None and now >= problem.resolved_at + SETTLED_AFTER else None
    if last is None or told_at is None:
        return "new" if now >= problem.report_after else None
    is_time = now >= told_at + REMINDER or is_future(told_at, now)
    return "again" if is_time and problem.count > last.count else None


def _must_wait(last: Told | None, now: datetime) -> bool:
    """Tell whether an attempt failed a moment ago; whoever refuses a message every minute may lock this program out."""
    if last is None or last.tried_at == last.told_at:
        return False
    return timedelta(0) <= now - last.tried_at < RETRY_AFTER


def compose(reports: Sequence[Report], *, timezone: str, ui_url: str | None = None) -> Message:
    """Write one short message about all reports, with times in the operator's time zone."""
    zone = ZoneInfo(timezone)
    body = "\n\n".join(_paragraph(report, zone, ui_url) for report in reports)
    return Message(_title(reports), body, all(report.occasion == "over" for report in reports))


def headline(report: Report) -> str:
    """Say in a few words what is wrong, or that it is over."""
    problem = report.problem
    words = {
        ("run", "new"): "{} failed",
        ("run", "again"): "{} keeps failing",
        ("run", "over"): "{} works again",
        ("check", "new"): "the check {} failed",
        ("check", "again"): "the check {} keeps failing",
        ("check", "over"): "the check {} passes again",
        ("freshness", "new"): "{} is out of date",
        ("freshness", "again"): "{} is out of date again",
        ("freshness", "over"): "{} is up to date again",
    }
    return words[problem.category, report.occasion].format(problem.subject)


def opening(report: Report) -> str:
    """Return the headline as the beginning of a sentence."""
    head = headline(report)
    return head[:1].upper() + head[1:]


def shorten(text: str) -> str:
    """Return a text on one line, of at most ``LONGEST_SENTENCE`` characters; redact secrets before."""
    line = " ".join(printable(text).split())
    return line if len(line) <= LONGEST_SENTENCE else line[: LONGEST_SENTENCE - 1] + "…"


def _title(reports: Sequence[Report]) -> str:
    if len(reports) == 1:
        return f"Aperture: {headline(reports[0])}"
    open_problems = sum(report.occasion != "over" for report in reports)
    if open_problems == 0:
        return f"Aperture: {len(reports)} problems are over"
    return f"Aperture: {open_problems} problem{'s' if open_problems > 1 else ''}"


def _paragraph(report: Report, zone: ZoneInfo, ui_url: str | None) -> str:
    problem = report.problem
    head, since = opening(report), _moment(problem.first_seen, zone)
    if report.occasion == "over":
        return f"{head} since {_moment(problem.resolved_at or problem.last_seen, zone)}. The problem began {since}."
    times = f", {problem.count} times since {since}" if report.occasion == "again" else ""
    text = f"{head}{times}: {problem.sentence}" if problem.sentence else f"{head}{times}."
    when = "" if times else f"Since {since}. "
    return f"{text}\n{when}{_place(problem, ui_url)}"


def _place(problem: Problem, ui_url: str | None) -> str:
    if ui_url is not None:
        return f"{ui_url.rstrip('/').removesuffix('/operate')}/operate/{problem.page}"
    folder, _, name = problem.page.partition("?")[0].partition("/")
    return f"Look at run {name[:8]} in the UI." if folder == "runs" else f"Look at the asset {name} in the UI."


def _moment(moment: datetime, zone: ZoneInfo) -> str:
    return f"{moment.astimezone(zone):%a %d %b %H:%M}"


# Messages to the operator's addresses, through apprise, which knows more than a hundred services.


LONGEST_REASON = 200


@dataclass(frozen=True, slots=True)
class Address:
    """An address that messages are sent to.

    Args:
        digest: identifies it in the database.
        shown: it without its secrets.
        url: it as configured, a secret.
    """

    digest: str
    shown: str
    url: str = field(repr=False)


def is_understood(url: str) -> bool:
    """Tell whether a text is an address that messages can be sent to. Nothing is sent."""
    import apprise

    logging.getLogger("apprise").propagate = False
    return isinstance(apprise.Apprise.instantiate(url), apprise.NotifyBase)


class Notifier:
    """Sends messages to the configured addresses."""

    def __init__(self, settings: Settings) -> None:
        self.addresses = [
            Address(hashlib.sha256(url.encode()).hexdigest()[:32], shown_address(url), url)
            for url in settings.alert_addresses
        ]
        self._secrets = settings.secret_values()

    def send_to_all(self, message: Message) -> list[tuple[Address, str | None]]:
        """Send a message to every address; return each with the reason if that failed, as :meth:`send` does."""
        return [(address, self.send(address, message)) for address in self.addresses]

    def send(self, address: Address, message: Message) -> str | None:
        """Send a message; return the reason, without secrets, if that fails.

        A service that does not answer is given up after a few seconds, which is apprise's own limit.
        """
        # Imported here: it takes seconds on a small machine.
        import apprise

        # Some of its lines hold parts of an address: they go nowhere but into the reason.
        logging.getLogger("apprise").propagate = False
        asset = apprise.AppriseAsset(app_id="Aperture", storage_mode="memory", secure_logging=True)
        is_sent, why = False, ""
        log: Any = apprise.LogCapture(level=logging.WARNING, fmt="%(message)s")
        with log as said:
            try:
                service = apprise.Apprise.instantiate(address.url, asset=asset)
                if not isinstance(service, apprise.NotifyBase):
                    return "it is not an address that apprise understands: see docs/alerts.md for examples"
                if service.overflow_mode == apprise.OverflowMode.UPSTREAM:
                    # A service that takes no long messages, such as Discord, would refuse it each time.
                    # A letter ends with the link that ends letters, so it comes in parts instead of being cut.
                    mode = apprise.OverflowMode
                    service.overflow_mode = mode.SPLIT if message.is_html else mode.TRUNCATE
                is_sent = service.notify(
                    # Names and titles are stored as they came.
                    body=printable(message.body),
                    title=" ".join(printable(message.title).split()),
                    notify_type=apprise.NotifyType.SUCCESS if message.is_good else apprise.NotifyType.WARNING,
                    body_format=apprise.NotifyFormat.HTML if message.is_html else apprise.NotifyFormat.TEXT,
                )
                why = said.getvalue()
            except Exception as error:
                # Whatever one of its hundred services raises concerns this message alone.
                why = f"{type(error).__name__}: {error}"
        if is_sent:
            return None
        reason = redact(" ".join(why.split()), [*self._secrets, *secrets_in(address.url)])
        return reason[:LONGEST_REASON].rstrip(".") or "the service refused it"


# Stored problems, and which messages about them each address has received.


def read_problems(connection: Connection) -> list[Problem]:
    """Return the problems that are open or were until a moment ago."""
    names = ", ".join(alert_problems.columns.keys())
    return [Problem(**row) for row in read_rows(connection, f"SELECT {names} FROM alert_problems ORDER BY key")]


def write_problems(connection: Connection, problems: Iterable[Problem]) -> None:
    """Replace all problems, and delete the records of messages about those that are gone."""
    rows = [asdict(problem) for problem in problems]
    upsert(connection, alert_problems, rows)
    keys = [row["key"] for row in rows]
    execute(connection, "DELETE FROM alert_problems WHERE key <> ALL(CAST(:keys AS text[]))", keys=keys)


def read_told(connection: Connection) -> dict[str, dict[str, Told]]:
    """Return the records of messages, by address and by the key of the problem."""
    told: dict[str, dict[str, Told]] = {}
    for row in read_rows(connection, "SELECT address, key, tried_at, told_at, count FROM alerts_told"):
        told.setdefault(row["address"], {})[row["key"]] = Told(row["tried_at"], row["told_at"], row["count"])
    return told


def keep_addresses(connection: Connection, addresses: Iterable[str]) -> None:
    """Delete the records of addresses that are no longer configured."""
    statement = "DELETE FROM alerts_told WHERE address <> ALL(CAST(:addresses AS text[]))"
    execute(connection, statement, addresses=list(addresses))


def note_attempt(connection: Connection, address: str, reports: Iterable[Report], *, now: datetime) -> None:
    """Record an attempt to send. Commit it before sending: after a crash the message is then not repeated at once."""
    statement = """
        INSERT INTO alerts_told (key, address, tried_at) VALUES (:key, :address, :now)
        ON CONFLICT (key, address) DO UPDATE SET tried_at = excluded.tried_at"""
    for report in reports:
        execute(connection, statement, key=report.problem.key, address=address, now=now)


def note_told(connection: Connection, address: str, reports: Iterable[Report], *, now: datetime) -> None:
    """Record that an address received a message. Once the end of a problem was sent, its record is deleted."""
    for report in reports:
        problem, which = report.problem, "WHERE key = :key AND address = :address"
        if report.occasion == "over":
            execute(connection, f"DELETE FROM alerts_told {which}", key=problem.key, address=address)
        else:
            statement = f"UPDATE alerts_told SET tried_at = :now, told_at = :now, count = :count {which}"
            execute(connection, statement, key=problem.key, address=address, now=now, count=problem.count)
