"""What importing a file would do for a user, from its rows and what is known already."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from aperture_dagster.catalogue.history.plays import SAME_PLAY
from aperture_dagster.catalogue.history_import.matching import (
    Copy,
    NamedTitle,
    NewTitle,
    Titles,
    Unclear,
    UnknownEpisode,
)
from aperture_dagster.catalogue.history_import.rows import (
    NOT_FINISHED,
    WITHOUT_DATE,
    PastRow,
    Precision,
    SkippedRow,
    Source,
)
from aperture_dagster.catalogue.identity import MediaType
from aperture_dagster.catalogue.references import KnownTitle

FINISHED_SHARE = 0.8
"""Share of a title's length from which it counts as watched to the end, 0-1."""
EARLIEST_YEAR = 1980
SAME_DAY = timedelta(hours=18)
"""Two dates of which one is a day without a time are of one viewing if they are closer than this."""
EXAMPLES = 5
MOST_REASONS = 50
MOST_TITLES = 30_000
"""Different titles and episodes of a file."""
Key = int | NewTitle | NamedTitle | UnknownEpisode
"""A work, ids that no work has yet, a name that no work has yet, or an episode of no known series."""


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of a user before an import.

    Attributes:
        plays: dates of finished plays by work, or by work, season and number.
        seen, liked, wanted: works.
        names: titles that wait to be recognised.
        episodes: ids at IMDb of episodes that were imported.
    """

    plays: Mapping[tuple[int, ...], Sequence[datetime]] = field(default_factory=dict)
    seen: frozenset[int] = frozenset()
    liked: frozenset[int] = frozenset()
    wanted: frozenset[int] = frozenset()
    names: frozenset[NamedTitle] = frozenset()
    episodes: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class NewPlay:
    """A play of a copy in the library."""

    item_id: int
    played_at: datetime
    is_episode: bool
    work_id: int


@dataclass(slots=True)
class Elsewhere:
    """What was seen of a title without a copy here, or at a time that nobody knows."""

    media_type: MediaType | None
    title: str | None
    year: int | None
    times: int = 0
    seen_at: datetime | None = None
    is_liked: bool = False


@dataclass(slots=True)
class Question:
    """A title about which somebody has to decide: the rows that are about it, and what it may be."""

    title: str
    year: int | None
    candidates: Sequence[KnownTitle]
    rows: int = 0


@dataclass(slots=True)
class Plan:
    """What would be written for a user, and what would not.

    Attributes:
        plays: new plays of what the library has.
        elsewhere: what was seen of other titles, or at an unknown time.
        ratings: rating and date, the latest of each title.
        wanted: titles of watchlists, with their names.
        questions: by name, what somebody has to decide; its rows are left out.
        known: rows that say nothing new.
        rows: how many rows were read.
        refused: how many rows were left out, by the reason.
        examples: some of them.
        sources: rows by program.
    """

    plays: list[NewPlay] = field(default_factory=list)
    elsewhere: dict[Key, Elsewhere] = field(default_factory=dict)
    ratings: dict[Key, tuple[int, datetime]] = field(default_factory=dict)
    wanted: dict[Key, tuple[str, datetime | None]] = field(default_factory=dict)
    questions: dict[NamedTitle, Question] = field(default_factory=dict)
    known: int = 0
    rows: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    examples: defaultdict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    sources: Counter[Source] = field(default_factory=Counter)

    @property
    def is_empty(self) -> bool:
        """Whether nothing would be written."""
        return not (self.plays or self.elsewhere or self.ratings or self.wanted)

    @property
    def source(self) -> Source:
        """The program that most rows are from."""
        return self.sources.most_common(1)[0][0] if self.sources else "file"

    @property
    def figures(self) -> dict[str, int]:
        """How much would be written, by kind."""
        named = sum(isinstance(key, NamedTitle | UnknownEpisode) for key in self.elsewhere)
        return {
            "plays": len(self.plays),
            "elsewhere": len(self.elsewhere) - named,
            "named": named,
            "ratings": len(self.ratings),
            "wanted": len(self.wanted),
        }

    def leave_out(self, reason: str, example: str) -> None:
        """Count a row that is not imported."""
        if reason not in self.refused and len(self.refused) >= MOST_REASONS:
            reason = "for yet another reason"
        self.refused[reason] += 1
        if len(self.examples[reason]) < EXAMPLES and example not in self.examples[reason]:
            self.examples[reason].append(example)


@dataclass(slots=True)
class _Subject:
    """A film, series or episode of the file: when it was seen."""

    key: Key
    row: PastRow
    copy: Copy | None
    place: tuple[int, ...]
    moments: list[tuple[datetime, Precision]] = field(default_factory=list)
    undated: int = 0
    is_liked: bool = False
    is_seen: bool = False


class Planner:
    """Takes the rows of a file, and then says what importing it would do for one user.

    Args:
        titles: everything that a row may mean.
        known: what is known of the user.
        never_rated: returns which works the user has not rated.
        now: later rows have a wrong date.
    """

    def __init__(
        self,
        titles: Titles,
        known: Known,
        never_rated: Callable[[Sequence[int]], set[int]],
        skip: frozenset[NamedTitle],
        *,
        now: datetime,
    ) -> None:
        self._titles, self._known, self._never_rated, self._skip = titles, known, never_rated, skip
        self._now, self.plan = now, Plan()
        self._subjects: dict[tuple[Key, tuple[int, ...]], _Subject] = {}

    def take(self, row: PastRow | SkippedRow, work_of_item: Mapping[str, int]) -> None:
        """Take a row into account."""
        plan = self.plan
        plan.rows += 1
        if isinstance(row, SkippedRow):
            plan.leave_out(row.reason, row.where)
            return
        plan.sources[row.source] += 1
        # Programs write the beginning of time for a date that they do not know.
        at = row.at if row.at is not None and row.at.year >= EARLIEST_YEAR else None
        if at is None and row.sign == "seen" and row.source in ("trakt", "playback_reporting", "tautulli"):
            plan.leave_out(WITHOUT_DATE, row.label)
        elif at is not None and at > self._now + timedelta(days=1):
            plan.leave_out("dated in the future", row.label)
        else:
            self._take(row, at, work_of_item)

    def _take(self, row: PastRow, at: datetime | None, work_of_item: Mapping[str, int]) -> None:
        plan, match = self.plan, self._titles.match(row, work_of_item)
        if isinstance(match, Unclear):
            if match.named in self._skip:
                plan.leave_out("skipped", row.label)
                return
            question = plan.questions.setdefault(
                match.named, Question(row.title or "", row.year, match.candidates)
            )  # fmt: skip
            question.rows += 1
            return
        if isinstance(match, NamedTitle) and not match.name:
            plan.leave_out("it names no title", row.label)
            return
        key: Key = match.work_id if isinstance(match, KnownTitle) else match
        if row.rating is not None:
            self._rate(key, row.rating, at or self._now)
        if row.sign == "wanted":
            if isinstance(key, NamedTitle):
                plan.leave_out("on a watchlist, and unknown here", row.label)
            else:
                plan.wanted.setdefault(key, (row.title or row.label, at))
            return
        if row.sign == "rated" and isinstance(key, int):
            # A rating says by itself that it was seen.
            return
        self._see(key, row, at)

    def _rate(self, key: Key, rating: int, at: datetime) -> None:
        before = self.plan.ratings.get(key)
        if before is None and len(self.plan.ratings) >= MOST_TITLES:
            return
        if before is None or before[1] < at:
            self.plan.ratings[key] = rating, at

    def _see(self, key: Key, row: PastRow, at: datetime | None) -> None:
        copy, place = None, ()
        if isinstance(key, int):
            title = self._titles.by_work(key)
            is_series = title is not None and title.media_type == "series"
            if is_series and (row.number is not None or row.episode is not None):
                episode = self._titles.episode(key, row)
                copy, place = (episode.copy, (episode.season, episode.number)) if episode is not None else (None, ())
            elif not is_series:
                copy = self._titles.copies.get(key)
        if row.number is not None and not place:
            place = (row.season if row.season is not None else -1, row.number)
        if row.seconds is not None and (copy is None or copy.minutes is None):
            self.plan.leave_out("of unknown length" if copy is not None else "not in the library", row.label)
            return
        if row.seconds is not None and copy is not None and row.seconds < FINISHED_SHARE * 60 * (copy.minutes or 0):
            self.plan.leave_out(NOT_FINISHED, row.label)
            return
        named = (hash(row.episode),) if row.episode is not None and not place else place
        subject = self._subjects.get((key, named))
        if subject is None:
            if len(self._subjects) >= MOST_TITLES:
                self.plan.leave_out(f"more than {MOST_TITLES:,} different titles and episodes", row.label)
                return
            subject = self._subjects[key, named] = _Subject(key, row, copy, place)
        subject.is_liked |= row.sign == "liked"
        subject.is_seen |= row.sign != "rated"
        if at is None:
            subject.undated += 1
        else:
            subject.moments.append((at, row.precision))

    def finish(self) -> Plan:
        """Return what would happen."""
        plan = self.plan
        for subject in self._subjects.values():
            self._plan_viewings(subject)
        rated = [key for key in plan.ratings if isinstance(key, int)]
        new = self._never_rated(rated)
        fresh = {
            key: given
            for key, given in plan.ratings.items()
            if (key in new if isinstance(key, int) else key not in self._known.names)
        }
        plan.known += len(plan.ratings) - len(fresh)
        plan.ratings = fresh
        # Whoever has seen it does not want it for later.
        over = plan.elsewhere.keys() | plan.ratings.keys() | self._known.seen | self._known.wanted
        plan.wanted = {key: given for key, given in plan.wanted.items() if key not in over}
        return plan

    def _plan_viewings(self, subject: _Subject) -> None:
        plan, key, known = self.plan, subject.key, self._known
        exact = sorted((moment for moment in subject.moments if moment[1] != "logged"), key=lambda given: given[0])
        if isinstance(key, int) and subject.copy is not None and exact:
            taken = [(at, "moment") for at in known.plays.get((key, *subject.place), ())]
            for at, precision in exact:
                if any(is_same_viewing(at, precision, other, how) for other, how in taken):
                    plan.known += 1
                    continue
                taken.append((at, precision))
                plan.plays.append(NewPlay(subject.copy.item_id, at, bool(subject.place), key))
            if subject.is_liked and key not in known.liked:
                self._elsewhere(subject).is_liked = True
            return
        if isinstance(key, int):
            is_known = key in known.seen
        else:
            is_known = key.imdb_id in known.episodes if isinstance(key, UnknownEpisode) else key in known.names
        if is_known:
            plan.known += len(subject.moments) + subject.undated
            if subject.is_liked and isinstance(key, int) and key not in known.liked:
                self._elsewhere(subject).is_liked = True
            return
        entry = self._elsewhere(subject)
        days: list[tuple[datetime, Precision]] = []
        for at, precision in exact:
            if not any(is_same_viewing(at, precision, *other) for other in days):
                days.append((at, precision))
        entry.times += len(days) or int(subject.is_seen)
        latest = max((at for at, _ in exact or subject.moments), default=None)
        entry.seen_at = max(filter(None, (entry.seen_at, latest)), default=None)
        entry.is_liked |= subject.is_liked

    def _elsewhere(self, subject: _Subject) -> Elsewhere:
        row, key = subject.row, subject.key
        media_type = key.media_type if isinstance(key, NewTitle | NamedTitle) else row.media_type
        if isinstance(key, int) and (title := self._titles.by_work(key)) is not None:
            media_type = title.media_type
        return self.plan.elsewhere.setdefault(key, Elsewhere(media_type, row.title, row.year))


def is_same_viewing(at: datetime, precision: str, other: datetime, how: str) -> bool:
    """Return whether two dates are of one viewing: programs note its beginning, its end, or only its day."""
    return abs(at - other) <= (SAME_PLAY if precision == how == "moment" else SAME_DAY)


def items_of(rows: Iterable[PastRow | SkippedRow]) -> set[str]:
    """Return the media server's ids of items in rows."""
    return {row.item_id for row in rows if isinstance(row, PastRow) and row.item_id is not None}
