"""What Trakt returns and takes: ratings, ids, tokens, codes. Secrets do not appear in a ``repr``."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

from aperture_dagster.catalogue.identity import ProviderIds
from aperture_dagster.http.errors import BadAnswer
from aperture_dagster.http.messages import as_object, expect, one_line
from aperture_dagster.media_server.records import MediaType
from aperture_dagster.model import is_future

PLURALS: dict[MediaType, str] = {"movie": "movies", "series": "shows"}
SINGULARS: dict[MediaType, str] = {"movie": "movie", "series": "show"}
LARGEST_ID = 2**31 - 1
# A tenth of a token's life is left for the refresh.
REFRESH_SHARE = 0.1
USUAL_INTERVAL = 5.0
SHORTEST_INTERVAL = 0.2
Entry = TypeVar("Entry", bound="TraktTitle")


@dataclass(frozen=True, slots=True)
class TraktIds:
    """Ids of a title on Trakt and elsewhere."""

    trakt: int | None = None
    imdb: str | None = None
    tmdb: int | None = None
    tvdb: int | None = None

    @property
    def elsewhere(self) -> ProviderIds:
        """The ids at other services."""
        return ProviderIds(tmdb_id=self.tmdb, imdb_id=self.imdb, tvdb_id=self.tvdb)

    def known(self) -> dict[str, int | str]:
        """Return the ids that are known, by Trakt's names."""
        return {name: value for name, value in asdict(self).items() if value is not None}


@dataclass(frozen=True, slots=True)
class TraktTitle:
    """A film or series; at least one id is known."""

    media_type: MediaType
    ids: TraktIds

    def body(self) -> dict[str, Any]:
        """Return it as Trakt takes it. A film has no TVDb id there."""
        return {
            "ids": {
                name: value for name, value in self.ids.known().items() if name != "tvdb" or self.media_type != "movie"
            }
        }


@dataclass(frozen=True, slots=True)
class TraktRating(TraktTitle):
    """A user's rating of a film or series: 1-10, with its date in UTC."""

    rating: int
    rated_at: datetime

    def __post_init__(self) -> None:
        """Raise ValueError for a rating that Trakt does not have."""
        if self.rating not in range(1, 11):
            raise ValueError(f"Trakt rates from 1 to 10, not {self.rating}")

    def body(self) -> dict[str, Any]:
        """Return it as Trakt takes it."""
        # Not super(): a dataclass with slots is a new class, which super() does not refer to.
        return {**TraktTitle.body(self), "rating": self.rating, "rated_at": to_text(self.rated_at)}


@dataclass(frozen=True, slots=True)
class RatingsList:
    """A user's ratings of a media type.

    Only a list that is proven complete may lead to removals: every page came, no title is missing or double, and
    Trakt's own count, if sent, is the number of rows. ``incomplete`` says why it is not.
    """

    ratings: tuple[TraktRating, ...]
    incomplete: str | None = None

    @property
    def is_complete(self) -> bool:
        """Whether a title that is not in it is not rated."""
        return self.incomplete is None


@dataclass(frozen=True, slots=True)
class DeviceCode:
    """A code with which a user lets this installation in, on any device with a browser."""

    device_code: str = field(repr=False)
    user_code: str = field(repr=False)
    verification_url: str
    expires_in: float
    interval: float

    @property
    def link(self) -> str:
        """The page with the code filled in."""
        return f"{self.verification_url.rstrip('/')}/{self.user_code}"


@dataclass(frozen=True, slots=True)
class TokenPair:
    """A user's tokens. The refresh token is valid for one use."""

    access_token: str = field(repr=False)
    refresh_token: str = field(repr=False)
    issued_at: datetime
    expires_at: datetime

    def is_due(self, now: datetime) -> bool:
        """Return whether less than a tenth of the access token's life is left, or a wrong clock dated it."""
        return is_future(self.issued_at, now) or now > self.expires_at - REFRESH_SHARE * (
            self.expires_at - self.issued_at
        )


def to_text(moment: datetime) -> str:
    """Format a moment as Trakt keeps it: UTC, cut to whole seconds."""
    return f"{moment.astimezone(UTC):%Y-%m-%dT%H:%M:%S}.000Z"


def parse_moment(value: Any) -> datetime | None:
    """Parse a moment with a time zone, cut to whole seconds; None if it is something else."""
    try:
        moment = datetime.fromisoformat(value)
    except (TypeError, ValueError):
        return None
    if moment.tzinfo is None:
        return None
    try:
        return moment.astimezone(UTC).replace(microsecond=0)
    except OverflowError:
        return None


def parse_ids(value: Any) -> TraktIds:
    """Parse ids; those that are missing or unusable are None."""
    ids = as_object(value)
    imdb = one_line(ids.get("imdb"))
    return TraktIds(
        trakt=_id(ids.get("trakt")),
        imdb=imdb if imdb and re.fullmatch(r"tt[0-9]{5,12}", imdb) else None,
        tmdb=_id(ids.get("tmdb")),
        tvdb=_id(ids.get("tvdb")),
    )


def parse_title(media_type: MediaType, value: Any) -> TraktTitle | None:
    """Parse a film or series; None if it has no usable id."""
    ids = parse_ids(as_object(value).get("ids"))
    return TraktTitle(media_type, ids) if ids.known() else None


def parse_rating(media_type: MediaType, row: Any) -> TraktRating | None:
    """Parse a row of ratings; None if it has no id, date or rating. Only the ids of the nested title are current."""
    fields = as_object(row)
    title = parse_title(media_type, fields.get(SINGULARS[media_type]))
    rating, rated_at = _rating(fields.get("rating")), parse_moment(fields.get("rated_at"))
    if title is None or rating is None or rated_at is None:
        return None
    return TraktRating(media_type, title.ids, rating, rated_at)


def parse_code(value: Any) -> DeviceCode:
    """Parse a device code; raises BadAnswer."""
    fields = expect(value, dict, "Trakt's code")
    link = _text(fields, "verification_url")
    if not link.startswith(("https://", "http://")):
        raise BadAnswer("Trakt's code: verification_url is not an address")
    seconds = _seconds(fields, "expires_in")
    interval = fields.get("interval")
    if isinstance(interval, bool) or not isinstance(interval, (int, float)) or not 0 <= interval < seconds:
        interval = USUAL_INTERVAL
    interval = max(interval, SHORTEST_INTERVAL)
    return DeviceCode(_text(fields, "device_code"), _text(fields, "user_code"), link, seconds, interval)


def parse_tokens(value: Any, now: datetime) -> TokenPair:
    """Parse a pair of tokens; raises BadAnswer, which names fields and no values."""
    fields = expect(value, dict, "Trakt's tokens")
    created, life = fields.get("created_at"), _seconds(fields, "expires_in")
    is_usable = isinstance(created, (int, float)) and not isinstance(created, bool) and 0 < created < 2**33
    issued = datetime.fromtimestamp(created, UTC) if is_usable else now
    expires = issued + timedelta(seconds=min(life, 2**30))
    return TokenPair(_text(fields, "access_token"), _text(fields, "refresh_token"), issued, expires)


def parse_user(value: Any) -> str:
    """Parse the settings of a user for their name; raises BadAnswer."""
    user = expect(expect(value, dict, "Trakt's settings").get("user"), dict, "Trakt's settings: user")
    name = one_line(user.get("username")) or one_line(user.get("name"))
    if name is None:
        raise BadAnswer("Trakt's settings name no user")
    return name


def same_title(echoed: Mapping[str, Any], sent: Mapping[str, Any]) -> bool:
    """Return whether ids that Trakt echoed are among those sent."""
    shared = {name: value for name, value in echoed.items() if value is not None and name in sent}
    return bool(shared) and all(str(sent[name]) == str(value) for name, value in shared.items())


def _rating(value: Any) -> int | None:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0.5 <= value < 10.5:
        return None
    return math.floor(value + 0.5)


def _id(value: Any) -> int | None:
    if isinstance(value, str) and value.isascii() and value.isdigit():
        value = int(value[:20])
    if isinstance(value, bool) or not isinstance(value, int):
        return None
    return value if 0 < value <= LARGEST_ID else None


def _text(fields: dict[str, Any], name: str) -> str:
    text = fields.get(name)
    # It goes into a header or an address.
    if not isinstance(text, str) or not text or not text.isascii() or not text.isprintable():
        raise BadAnswer(f"Trakt's answer: {name} is missing or no text")
    return text


def _seconds(fields: dict[str, Any], name: str) -> float:
    seconds = fields.get(name)
    if isinstance(seconds, bool) or not isinstance(seconds, (int, float)) or not 0 < seconds < math.inf:
        raise BadAnswer(f"Trakt's answer: {name} is missing or no number of seconds")
    return seconds
