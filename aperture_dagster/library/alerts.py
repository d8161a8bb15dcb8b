"""When the operator hears about a problem, and in which words.

A *problem* is what an operator perceives as one: an asset (or a job, or a check) and the class of its cause. Neither a
run's id nor a number in a message makes another problem of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Literal
from zoneinfo import ZoneInfo

from aperture_dagster.library.moments import is_future
from aperture_dagster.wording import printable

Category = Literal["run", "check", "freshness"]
Occasion = Literal["new", "again", "over"]

AT_ONCE = timedelta(0)
# A problem that returns within this time was not over: what fails and succeeds by turns is reported once.
SETTLED_AFTER = timedelta(hours=1)
# A problem that was neither seen nor refuted for so long is forgotten, since its asset, check or job may be gone; what
# was last seen so long ago is not reported.
FORGOTTEN_AFTER = timedelta(days=30)
LONGEST_SENTENCE = 300
SHOWN_REPORTS = 8


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
    tell_after: datetime
    last_told: datetime | None = None
    told_count: int = 0
    resolved_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Report:
    """A problem that the operator should hear about now: it is new, it happened again, or it is over."""

    occasion: Occasion
    problem: Problem


@dataclass(frozen=True, slots=True)
class Plan:
    """Problems to keep, keys of those that are closed, and what to report."""

    problems: list[Problem]
    closed: list[str]
    reports: list[Report]


@dataclass(frozen=True, slots=True)
class Message:
    """A message in plain text; ``is_good`` if it reports nothing but recoveries."""

    title: str
    body: str
    is_good: bool


def plan_alerts(
    known: Iterable[Problem],
    sightings: Iterable[Sighting],
    recoveries: Iterable[Recovery],
    *,
    now: datetime,
    reminder: timedelta,
) -> Plan:
    """Decide which problems are open and what to report.

    The first sighting of a problem is reported after its delay; further ones are counted, and reported together when
    ``reminder`` has passed since the last report. A recovery is reported when it has lasted for ``SETTLED_AFTER``, and
    only if the problem was reported. What a wrong clock dated in the future counts as dated now.
    """
    problems = {problem.key: _dated(problem, now) for problem in known}
    before, seen = set(problems), set[str]()
    for event in sorted([*recoveries, *sightings], key=lambda event: event.seen_at):
        if is_future(event.seen_at, now):
            # Every look sees it again: if the problem is known already, this sighting is.
            known_as = problems.get(event.key) if isinstance(event, Sighting) else None
            event = replace(event, seen_at=known_as.last_seen if known_as is not None else now)
        if isinstance(event, Sighting):
            seen.add(event.key)
            if event.key in problems or now < event.seen_at + FORGOTTEN_AFTER:
                problems[event.key] = _see(problems.get(event.key), event)
        else:
            problems |= {key: _resolve(one, event) for key, one in problems.items()}
    reports = [report for one in problems.values() if (report := _due(one, problems.values(), now, reminder))]
    over = {report.problem.key for report in reports if report.occasion == "over"}
    over |= {key for key, one in problems.items() if one.resolved_at is not None and one.last_told is None}
    over |= {key for key, one in problems.items() if key not in seen and now > one.last_seen + FORGOTTEN_AFTER}
    told = {report.problem.key for report in reports}
    kept = [
        replace(one, last_told=now, told_count=one.count) if key in told else one
        for key, one in problems.items()
        if key not in over
    ]
    reports.sort(key=lambda report: (("new", "again", "over").index(report.occasion), report.problem.first_seen))
    return Plan(kept, sorted(over & before), reports)


def _dated(problem: Problem, now: datetime) -> Problem:
    """Return a problem with dates in the future set to now, and with the delay that was left."""
    if not any(is_future(one, now) for one in (problem.last_seen, problem.last_told, problem.resolved_at) if one):
        return problem
    return replace(
        problem,
        first_seen=min(problem.first_seen, now),
        last_seen=min(problem.last_seen, now),
        tell_after=min(problem.tell_after, now + max(problem.tell_after - problem.last_seen, AT_ONCE)),
        last_told=min(problem.last_told, now) if problem.last_told is not None else None,
        resolved_at=min(problem.resolved_at, now) if problem.resolved_at is not None else None,
    )


def _see(problem: Problem | None, sighting: Sighting) -> Problem:
    tell_after = sighting.seen_at + sighting.delay
    if problem is None:
        return Problem(
            key=sighting.key,
            category=sighting.category,
            subject=sighting.subject,
            sentence=sighting.sentence,
            page=sighting.page,
            first_seen=sighting.seen_at,
            last_seen=sighting.seen_at,
            count=1,
            tell_after=tell_after,
        )
    if sighting.seen_at <= problem.last_seen:
        return problem
    return replace(
        problem,
        sentence=sighting.sentence,
        page=sighting.page,
        last_seen=sighting.seen_at,
        count=problem.count + 1,
        tell_after=min(problem.tell_after, tell_after),
        resolved_at=None,
    )


def _resolve(problem: Problem, recovery: Recovery) -> Problem:
    concerns = (problem.category, problem.subject) == (recovery.category, recovery.subject)
    if not concerns or problem.resolved_at is not None or recovery.seen_at < problem.last_seen:
        return problem
    return replace(problem, resolved_at=recovery.seen_at)


def _due(problem: Problem, problems: Iterable[Problem], now: datetime, reminder: timedelta) -> Report | None:
    if problem.resolved_at is not None:
        settled = problem.last_told is not None and now >= problem.resolved_at + SETTLED_AFTER
        return Report("over", problem) if settled else None
    if problem.last_told is not None:
        happened_again = problem.count > problem.told_count
        return Report("again", problem) if happened_again and now >= problem.last_told + reminder else None
    if now < problem.tell_after or _is_explained(problem, problems):
        return None
    return Report("new", problem)


def _is_explained(problem: Problem, problems: Iterable[Problem]) -> bool:
    """Tell whether an asset is out of date because its runs fail, which is a problem of its own."""
    return problem.category == "freshness" and any(
        one.category == "run" and one.subject == problem.subject and one.resolved_at is None for one in problems
    )


def compose(reports: Sequence[Report], *, timezone: str, ui_url: str | None = None) -> Message:
    """Write one short message about all reports, with times in the operator's time zone."""
    zone = ZoneInfo(timezone)
    shown = [_paragraph(report, zone, ui_url) for report in reports[:SHOWN_REPORTS]]
    left = [report.problem.subject for report in reports[SHOWN_REPORTS:]]
    if left:
        shown.append(f"And {len(left)} more: {shorten(', '.join(left))}")
    return Message(_title(reports), "\n\n".join(shown), all(report.occasion == "over" for report in reports))


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
        return f"{ui_url}/{problem.page}"
    folder, _, name = problem.page.partition("?")[0].partition("/")
    return f"Look at run {name[:8]} in the UI." if folder == "runs" else f"Look at the asset {name} in the UI."


def _moment(moment: datetime, zone: ZoneInfo) -> str:
    return f"{moment.astimezone(zone):%a %d %b %H:%M}"
