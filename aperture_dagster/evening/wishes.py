"""What a member wants tonight, as an address says it: how long, which genres, newer or older. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from aperture_dagster.model import MEDIA_TYPES
from aperture_dagster.texts import marked

EPISODE = 60
LENGTHS = {
    str(EPISODE): marked("An episode (up to an hour)"), "90": marked("Up to 90 minutes"),
    "120": marked("Up to 2 hours"),
}  # fmt: skip
"""Minutes, as they stand in an address, and what they are called."""
NEW, OLD = "new", "old"
AGES = {NEW: marked("From the last five years"), OLD: marked("From before 2000")}
NEW_YEARS, OLD_BEFORE = 5, 2000
NAMES = ("minutes", "genre", "age", "unseen")
"""Parameters of an address."""
MOST_GENRES = 12


@dataclass(frozen=True, slots=True)
class Wishes:
    """What a list for tonight is limited to; ``is_odd``: part of the address meant nothing, and was ignored."""

    minutes: int | None = None
    genres: tuple[str, ...] = ()
    age: str = ""
    unseen: bool = False
    is_odd: bool = False

    @property
    def media_types(self) -> Sequence[str]:
        """The media types of titles. A film is no episode, however short."""
        return ("series",) if self.minutes == EPISODE else MEDIA_TYPES

    def years(self, this_year: int) -> tuple[int | None, int | None]:
        """Return the first and the last year of titles; None: no limit."""
        return (
            this_year - NEW_YEARS + 1 if self.age == NEW else None,
            OLD_BEFORE - 1 if self.age == OLD else None,
        )

    def allow(self, media_type: str, minutes: int | None, genres: Collection[str], year: int | None, now: int) -> bool:
        """Tell whether a title fits, ``now`` being this year. What is not known of it fits no limit."""
        first, last = self.years(now)
        return (
            (self.minutes is None or (minutes is not None and minutes <= self.minutes))
            and media_type in self.media_types
            and (not self.genres or bool(set(self.genres) & set(genres)))
            and (first is None or (year is not None and year >= first))
            and (last is None or (year is not None and year <= last))
        )


def parse_wishes(pairs: Iterable[tuple[str, str]], known_genres: Collection[str]) -> Wishes:
    """Read the parameters of an address; those that are empty or about something else are no wishes."""
    minutes, age, unseen, is_odd = None, "", False, False
    genres: list[str] = []
    for name, value in pairs:
        if name not in NAMES or not value:
            continue
        if name == "minutes" and value in LENGTHS:
            minutes = int(value)
        elif name == "age" and value in AGES:
            age = value
        elif name == "unseen" and value == "1":
            unseen = True
        elif name == "genre" and value in known_genres and len(genres) < MOST_GENRES:
            genres += [value] if value not in genres else []
        else:
            is_odd = True
    return Wishes(minutes, tuple(genres), age, unseen, is_odd)
