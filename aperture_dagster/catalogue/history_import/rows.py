"""What a row of an exported history is, whatever file it is from."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from aperture_dagster.catalogue.identity import MediaType, ProviderIds

Source = Literal["trakt", "playback_reporting", "tautulli", "letterboxd", "imdb", "netflix", "simkl", "mdblist", "file"]
Sign = Literal["seen", "rated", "liked", "wanted"]
"""What a row says: watched, rated, marked as a favourite, or on a watchlist."""
Precision = Literal["moment", "day", "logged"]
"""How exact the date of a row is; ``logged``: when it was noted, some time after the viewing."""
NAMES: dict[Source, str] = {
    "trakt": "Trakt", "playback_reporting": "Playback Reporting", "tautulli": "Tautulli", "letterboxd": "Letterboxd",
    "imdb": "IMDb", "netflix": "Netflix", "simkl": "Simkl", "mdblist": "MDBList", "file": "CSV",
}  # fmt: skip
NOT_FINISHED = "not watched to the end"
WITHOUT_DATE = "without a date"
LONGEST_TEXT = 300
"""Characters of a title or a name. A file may hold a thousand of the longest records at once."""
LARGEST_NUMBER = 2**31


@dataclass(frozen=True, slots=True)
class PastRow:
    """What a row says about a film, a series or an episode.

    Attributes:
        user: their name or id there; None if the file does not say it.
        media_type: None if the file does not say it.
        title: of the film or of the series, as are ``year`` and ``ids``.
        at: None if the file does not say it.
        number: of the episode, as is ``season``; None for a film, or for a rating.
        rating: 1-10.
        seconds: how long it was played; None: to the end.
        item_id: its id on the media server that made the file.
        episode: the episode's title, if that is all that is known of it.
        whole_title: ``title`` may be only its first part.
        episode_imdb_id: of an episode whose series the file does not name; ``title`` is the episode's then.
    """

    source: Source
    user: str | None
    media_type: MediaType | None
    title: str | None
    year: int | None
    ids: ProviderIds
    at: datetime | None
    season: int | None = None
    number: int | None = None
    rating: int | None = None
    seconds: int | None = None
    item_id: str | None = None
    sign: Sign = "seen"
    precision: Precision = "moment"
    episode: str | None = None
    whole_title: str | None = None
    episode_imdb_id: str | None = None

    @property
    def label(self) -> str:
        """What to call it in a message."""
        name = self.title or " ".join(str(value) for _, value in self.ids.present()) or "a title without a name"
        year = f" ({self.year})" if self.year else ""
        if self.number is None or self.season is None:
            return f"{name}{year}"
        return f"{name} S{self.season:02}E{self.number:02}"


@dataclass(frozen=True, slots=True)
class SkippedRow:
    """A row that is no viewing or rating, or cannot be read: where it is, and why."""

    where: str
    reason: str


def as_text(value: Any) -> str | None:
    """Return a value as text that can be stored; None for nothing, or for what is no single value."""
    # Who converts files makes numbers of ids and names, and a damaged file may hold a NUL.
    if value is None or isinstance(value, list | dict | bool):
        return None
    text = str(value)[:LONGEST_TEXT].replace("\x00", "").strip()
    return text.encode("utf-8", "ignore").decode() or None


def as_number(value: Any) -> int | None:
    """Return a value as a number that can be stored; None for nothing. Raises ValueError and TypeError for others."""
    if value in (None, ""):
        return None
    if isinstance(value, str) and len(value) > 20:
        raise ValueError("a number that is too long")
    number = int(value)
    if not 0 <= number < LARGEST_NUMBER:
        raise ValueError(f"the number {number}")
    return number
