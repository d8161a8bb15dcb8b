"""An item of the media server: a film, series, season, episode, box set or playlist."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from aperture_dagster.simulator.world import WorldLibrary, WorldTitle


@dataclass(frozen=True, slots=True)
class Member:
    """An entry of a box set or playlist; ``number`` is unique in the catalogue."""

    item: Item
    number: int


@dataclass(slots=True)
class Ownership:
    """The owner of a playlist, by id. A playlist without an owner is everyone's to see and to edit."""

    owner: str | None
    is_public: bool
    media_type: str = "Video"

    def allows(self, user_id: str) -> bool:
        """Return whether a user sees the playlist."""
        return self.is_public or self.owner in (None, user_id)

    def allows_edits(self, user_id: str) -> bool:
        """Return whether a user may change the playlist."""
        return self.owner in (None, user_id)


TICKS_PER_MINUTE = 600_000_000
FIRST_NUMBER = 1_000
GENERATION = 10_000_000
_ARTICLES = ("the ", "a ", "an ")
_UNSAFE_IN_PATHS = re.compile(r'[\x00-\x1f/\\:*?"<>|]')
# Minimum age by official rating, which the media server compares with a user's limit.
_RATING_AGES = {
    "G": 0, "TV-G": 0, "TV-Y": 0, "APPROVED": 0, "TV-Y7": 7, "PG": 10, "TV-PG": 10,
    "PG-13": 13, "TV-14": 14, "R": 17, "TV-MA": 17, "NC-17": 18,
}  # fmt: skip


class Item:
    """A film, series, season, episode, box set or playlist on the media server."""

    __slots__ = (
        "copy", "created", "edits", "episode", "episode_end", "folder", "forced_sort_name", "generation", "id", "kind",
        "library", "locked", "members", "name", "own_provider_ids", "ownership", "present", "primary", "runtime_ticks",
        "saved", "season", "seasons", "series", "slot", "sort_name", "specials", "title", "version", "versions",
        "virtual",
    )  # fmt: skip

    def __init__(
        self, slot: int, kind: str, title: WorldTitle, name: str, library: WorldLibrary, created: float
    ) -> None:
        self.slot = slot
        self.kind = kind
        self.title = title
        self.name = name
        self.library = library
        self.created = created
        self.saved = created
        self.copy = 0
        self.season: int | None = None
        self.episode: int | None = None
        self.series: Item | None = None
        self.episode_end: int | None = None
        """Of a double episode: the number of the last one in its file."""
        self.seasons: list[Season] = []
        """Of a series: its numbered seasons in order."""
        self.specials: Season | None = None
        """Of a series: season 0."""
        self.virtual = False
        """Whether the item is known from metadata only, without a file."""
        self.version = 0
        self.primary: Item | None = None
        """Of an alternate version: the primary version."""
        self.versions: list[Item] = []
        """Of a primary version: its alternate versions."""
        self.members: list[Member] = []
        """Of a box set or playlist: its entries in order, including items that left the server."""
        self.ownership: Ownership | None = None
        """Of a playlist: whose it is."""
        self.locked = False
        """Whether the item's metadata is locked."""
        self.edits: dict[str, Any] = {}
        """Fields that clients wrote and that are not facts of the title, by name in the server's JSON."""
        self.runtime_ticks: int | None = None
        self.folder = ""
        self.sort_name = name
        self.forced_sort_name: str | None = None
        """A sort name that replaces the one made from the name."""
        self.own_provider_ids: dict[str, str] | None = None
        """Provider ids that replace those of the title."""
        self.generation = 0
        self.present = True
        self.id = ""

    @property
    def has_own_facts(self) -> bool:
        """Whether ``title`` describes the item itself, rather than the series that it belongs to."""
        return self.kind in ("Movie", "Series", "BoxSet", "Playlist")

    @property
    def premiere(self) -> str | None:
        """The premiere as ``YYYY-MM-DD``, if known."""
        if self.season is None:
            return self.title.release_date or None
        return episode_air_date(self.title, self.season, 1 if self.episode is None else self.episode)

    @property
    def end_date(self) -> str | None:
        """Of a series that has ended: when its last episode aired, if known."""
        if not self.seasons:
            return None
        return episode_air_date(self.title, len(self.seasons), self.seasons[-1].last_number)

    @property
    def tags(self) -> tuple[str, ...]:
        """The tags that decide who may see the item: its own, those of its series and of its library."""
        return (*self.title.server_tags, *self.library.tags)

    @property
    def image_tag(self) -> str | None:
        """The tag of the primary image; None without one."""
        return self.id if self.kind != "Episode" else None

    @property
    def artwork_files(self) -> dict[str, str]:
        """The files of the other images by type, in the server's own folder for them."""
        kinds = self.title.artwork if self.kind in ("Movie", "Series") else ()
        folder = f"/config/metadata/library/{self.id[:2]}/{self.id}"
        return {kind: f"{folder}/{kind.lower()}.{'png' if kind == 'Logo' else 'jpg'}" for kind in kinds}

    @property
    def artwork_tags(self) -> dict[str, str]:
        """The tags of the other images by type."""
        return {kind: f"{self.id[:16]}{kind.lower()}" for kind in self.artwork_files}

    @property
    def media_path(self) -> str:
        """The path of the file that is played."""
        return self.path

    @property
    def part_paths(self) -> list[str]:
        """The files of a film that follow the first one."""
        if self.kind != "Movie":
            return []
        return [self.media_path.replace("-part1.", f"-part{number}.") for number in range(2, self.title.parts + 1)]

    @property
    def user_data_keys(self) -> list[str]:
        """The keys of users' data on the item, most significant first (``GetUserDataKeys``)."""
        if self.series is not None:
            keys, numbers = self.series.user_data_keys, (self.season, self.episode)
            suffix = "".join(f"{number:03d}" for number in numbers if number is not None)
            return [*(f"{key}{suffix}" for key in (keys[:-1] or keys)), self.id]
        names = {"Movie": ("tmdb", "imdb"), "Series": ("custom", "tvdb", "imdb")}.get(self.kind, ())
        known = {name.lower(): value for name, value in self.provider_ids.items()}
        return [*(known[name] for name in names if known.get(name)), self.id]

    @property
    def provider_ids(self) -> dict[str, str]:
        """The provider ids, those that replace the title's or else these."""
        if self.own_provider_ids is not None:
            return self.own_provider_ids
        title = self.title
        known = {"Tmdb": title.tmdb_id, "Imdb": title.imdb_id, "Tvdb": title.tvdb_id}
        if self.kind == "BoxSet":
            known = {"Tmdb": title.tmdb_id}
        elif self.kind not in ("Movie", "Series"):
            known = {}
        return {name: str(value) for name, value in known.items() if value is not None and value != ""}

    @property
    def every_season(self) -> list[Season]:
        """All seasons of a series, specials first."""
        return [self.specials, *self.seasons] if self.specials is not None else self.seasons

    def numbered(self, season: int) -> Season:
        """Return the season of a series by number. Raises IndexError when there is none."""
        found = next((each for each in self.every_season if each.item.season == season), None)
        if found is None:
            raise IndexError(season)
        return found

    @property
    def season_item(self) -> Item:
        """The season of an episode."""
        assert self.series is not None and self.season is not None
        return self.series.numbered(self.season).item

    @property
    def every_version(self) -> list[Item]:
        """All versions of the film, the primary one first."""
        primary = self.primary or self
        return [primary, *primary.versions]

    @property
    def is_owned(self) -> bool:
        """Whether this is an alternate version in its primary's folder, rather than one merged by hand."""
        return self.primary is not None and not self.title.merged

    @property
    def episode_count(self) -> int:
        """Number of playable episodes of a series."""
        return sum(not episode.virtual for season in self.every_season for episode in season.episodes)

    @property
    def studios(self) -> tuple[str, ...]:
        """Studios of a film or series. The media server lists a series' networks as studios."""
        if self.kind not in ("Movie", "Series"):
            return ()
        return self.title.networks if self.kind == "Series" and self.title.networks else self.title.companies

    @property
    def rating_age(self) -> int | None:
        """Minimum age of the official rating; None when unrated or unknown."""
        return rating_age(self.edits.get("CustomRating") or self.title.official_rating)

    @property
    def path(self) -> str:
        """Where the file or folder lies on the media server; of a virtual item, where it would."""
        if self.kind == "Movie":
            if self.title.disc in ("dvd", "bluray"):
                return self.folder
            suffix = f" - version {self.version + 1}" if self.is_owned else ""
            suffix += "-part1" if self.title.parts > 1 else ""
            ending = "iso" if self.title.disc else "mkv"
            return f"{self.folder}/{self.folder.rsplit('/', 1)[1]}{suffix}.{ending}"
        if self.series is None:
            return self.folder
        season_folder = f"{self.series.folder}/Season {self.season:02d}"
        if self.kind == "Season":
            return season_folder
        numbers = f"E{self.episode:02d}" + (f"-E{self.episode_end:02d}" if self.episode_end else "")
        return f"{season_folder}/{safe_name(self.title.title)} S{self.season:02d}{numbers}.mkv"

    def renew_id(self) -> None:
        """Compute the id from what identifies the item and the number of renewals."""
        origin = f"{self.title.key}|{self.copy}|{self.season}|{self.episode}|{self.generation}"
        if self.version:
            origin += f"|version {self.version}"
        self.id = hashlib.md5(origin.encode(), usedforsecurity=False).hexdigest()


@dataclass(slots=True)
class Season:
    """A season's item and its episodes in order."""

    item: Item
    episodes: list[Item]

    @property
    def last_number(self) -> int:
        """The highest episode number, 0 without any."""
        return max((episode.episode_end or episode.episode or 0 for episode in self.episodes), default=0)


def sort_name(name: str) -> str:
    """Return a name as the media server sorts it: lower case, no article, numbers padded."""
    lowered = name.lower()
    for article in _ARTICLES:
        if lowered.startswith(article):
            lowered = lowered[len(article) :]
            break
    return pad_numbers(lowered)


def pad_numbers(name: str) -> str:
    """Return a name with its numbers padded to ten digits."""
    return re.sub(r"\d+", lambda digits: digits.group().zfill(10), name)


def rating_age(official_rating: str | None) -> int | None:
    """Return the minimum age of an official rating; None when there is none, or an unknown one."""
    return _RATING_AGES.get(official_rating or "")


def safe_name(name: str) -> str:
    """Return a name as part of a path, at most 150 characters."""
    return _UNSAFE_IN_PATHS.sub("_", name).strip(" .")[:150] or "_"


def file_name(name: str) -> str:
    """Return the name of the folder that a server makes for a name; characters that it does not allow become blanks."""
    return _UNSAFE_IN_PATHS.sub(" ", name)


def stable_number(text: str) -> int:
    """Hash a text to a 64-bit number that is the same in every run."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big")


def item_number(item: Item) -> str:
    """Return the id of an item on Emby, which changes with the item's generation."""
    return str(FIRST_NUMBER + item.slot + item.generation * GENERATION)


def episode_air_date(title: WorldTitle, season: int, episode: int) -> str | None:
    """Return when an episode first aired: a season a year, an episode a week. None when the start is unknown."""
    try:
        start = datetime.fromisoformat(title.release_date or "").replace(tzinfo=UTC)
    except ValueError:
        if not title.year:
            return None
        start = datetime(title.year, 1, 10, tzinfo=UTC)
    return (start + timedelta(days=365 * (season - 1) + 7 * (episode - 1))).date().isoformat()
