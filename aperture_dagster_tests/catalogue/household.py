"""A media server and its users in memory, limited to listings and histories, for simulations of long periods."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from aperture_dagster.catalogue.history.reader import HistoryReader
from aperture_dagster.catalogue.removals import RemovalRefused
from aperture_dagster.catalogue.stored_users import read_users
from aperture_dagster.catalogue.sync.episodes import EpisodeSync
from aperture_dagster.catalogue.sync.merge import CatalogueResult, Coverage, RemovalRules, write_libraries
from aperture_dagster.catalogue.sync.titles import TitleSync
from aperture_dagster.media_server.records import ItemState, Listing, ServerEpisode, ServerLibrary, ServerTitle
from aperture_dagster.model import Clock
from aperture_dagster.postgres.database import Database
from aperture_dagster.publishing.copies.originals import record_states
from aperture_dagster.settings import Settings

FILMS = ServerLibrary("films", "Films", "movies")
UHD = ServerLibrary("uhd", "UHD", "movies")
SHOWS = ServerLibrary("shows", "Shows", "tvshows")
LIBRARIES = (FILMS, UHD, SHOWS)
USERS = ("ann", "bob")
RULES = RemovalRules(accepted=False)
DAY = timedelta(days=1)

Subject = tuple[Any, ...]
"""A film or episode independent of its files: ("film", number) or ("episode", series, season, number)."""


@dataclass(eq=False)
class File:
    """A file on the server's disks. ``series`` is the file of an episode's series."""

    number: int
    subject: Subject
    library: ServerLibrary
    path: str
    server_id: str
    present: bool = True
    series: File | None = None

    @property
    def is_available(self) -> bool:
        return self.present and (self.series is None or self.series.present)


@dataclass
class Datum:
    """A user's state of a file or of a film or episode, as stored by the server."""

    played: bool = False
    count: int = 0
    share: float = 0.0
    last: datetime | None = None


@dataclass
class Server:
    """The media server.

    Copies share their state (Emby, Jellyfin up to 10.10) or each have their own (Jellyfin 10.11 and later). With
    ``groups_versions``, copies in one library are listed as versions of the first (Jellyfin 12).
    """

    shares_state: bool
    groups_versions: bool = False
    files: list[File] = field(default_factory=list)
    data: dict[tuple[str, Any], Datum] = field(default_factory=dict)
    requests: int = 0

    def __post_init__(self) -> None:
        self._ids = itertools.count(1)
        self._numbers = itertools.count(1)
        for film in range(6):
            self.add(("film", film), FILMS)
        for show in range(2):
            series = self.add(("series", show), SHOWS)
            for season, number in itertools.product((1, 2), (1, 2)):
                self.add(("episode", show, season, number), SHOWS, series)

    def fresh_id(self) -> str:
        return str(next(self._ids))

    def add(self, subject: Subject, library: ServerLibrary, series: File | None = None) -> File:
        number = next(self._numbers)
        path = f"/{library.library_id}/{'-'.join(map(str, subject))}/{number}"
        file = File(number, subject, library, path, self.fresh_id(), series=series)
        self.files.append(file)
        return file

    def datum(self, user: str, file: File) -> Datum:
        return self.data.setdefault((user, file.subject if self.shares_state else file.number), Datum())

    def play(self, user: str, file: File, moment: datetime, share: float) -> None:
        datum = self.datum(user, file)
        datum.last = moment
        if share >= 1:
            datum.played, datum.count, datum.share = True, datum.count + 1, 0.0
        else:
            datum.played, datum.share = False, share

    def versions_of(self, file: File) -> list[File]:
        """Return the copies that the listing shows as versions of this file."""
        if not self.groups_versions:
            return []
        return [other for other in self._group(file) if other is not file]

    def is_a_version(self, file: File) -> bool:
        return self.groups_versions and self._group(file)[0] is not file

    def _group(self, file: File) -> list[File]:
        if file.subject[0] == "series":
            return [file]
        return [
            other
            for other in self.files
            if other.is_available
            and (other.subject, other.library, other.series) == (file.subject, file.library, file.series)
        ] or [file]

    def listed(self, library: ServerLibrary, kind: str) -> list[File]:
        return [
            file
            for file in self.files
            if file.is_available and file.library == library and file.subject[0] == kind and not self.is_a_version(file)
        ]

    # The interface of a media server client

    def title(self, file: File) -> ServerTitle:
        number = file.subject[1]
        tmdb_id = None if has_no_ids(file.subject) else 100 + number
        versions = tuple(one.server_id for one in self.versions_of(file))
        return ServerTitle(file.server_id, name_of(file), tmdb_id=tmdb_id, path=file.path, version_ids=versions)

    def episode(self, file: File) -> ServerEpisode:
        _, _, season, number = file.subject
        assert file.series is not None
        versions = tuple(one.server_id for one in self.versions_of(file))
        return ServerEpisode(
            file.server_id, file.series.server_id, name_of(file), season, number, path=file.path, version_ids=versions
        )

    def _states(self, user: str, files: Sequence[File]) -> Iterator[list[ItemState]]:
        states = []
        for file in files:
            datum = self.datum(user, file)
            states.append(
                ItemState(
                    file.server_id,
                    file.subject[0] == "episode",
                    datum.played,
                    datum.count,
                    datum.share,
                    datum.last,
                    favorite=False,
                    rating=None,
                    name=name_of(file),
                    series_name=name_of(file.series) if file.series is not None else None,
                    season=file.subject[2] if file.series is not None else None,
                    number=file.subject[3] if file.series is not None else None,
                )
            )
        for start in range(0, len(states), 3):
            yield states[start : start + 3]

    def _touched(self, user: str) -> list[File]:
        return [
            file
            for file in self.files
            if file.is_available and file.subject[0] != "series" and self.datum(user, file).last is not None
        ]

    def all_states(self, user_id: str, listing: Listing) -> Iterator[list[ItemState]]:
        listing.seen = listing.total = len(self._touched(user_id))
        yield from self._states(user_id, self._touched(user_id))

    def changed_states(self, user_id: str, since: datetime, listing: Listing) -> Iterator[list[ItemState]]:
        listing.seen = listing.total = 0
        files = self._touched(user_id)
        yield from self._states(user_id, [one for one in files if (self.datum(user_id, one).last or since) > since])

    def states_of(self, user_id: str, item_ids: Sequence[str]) -> Iterator[list[ItemState]]:
        wanted = set(item_ids)
        yield from self._states(user_id, [one for one in self.files if one.is_available and one.server_id in wanted])


def name_of(file: File) -> str:
    """Return the file's name on the server; all episodes have the same."""
    return "Episode" if file.series is not None else f"{file.subject[0]} {file.subject[1]}"


def has_no_ids(subject: Subject) -> bool:
    """Return whether the film has no provider ids, so that it is recognised by its path only."""
    return subject[0] == "film" and subject[1] % 3 == 2


class Home:
    """A database that is synced with the server, with the functions that the assets use."""

    def __init__(self, database: Database, settings: Settings, server: Server) -> None:
        self.database, self.settings, self.server = database, settings, server
        self.now = datetime(2026, 1, 1, 12, tzinfo=UTC)
        self.excluded: set[ServerLibrary] = set()
        with database.transaction() as connection:
            self.users = {user.user_id: user for user in read_users(connection)}

    def sync_catalogue(
        self, *, cut: dict[ServerLibrary, float] | None = None, unreadable: Sequence[File] = ()
    ) -> dict[str, CatalogueResult]:
        """Sync films, series and episodes. ``cut``: libraries whose listing ends early, with the listed share."""
        return {kind: self._sync(kind, cut or {}, unreadable) for kind in ("film", "series", "episode")}

    def _sync(self, kind: str, cut: dict[ServerLibrary, float], unreadable: Sequence[File]) -> CatalogueResult:
        libraries = (FILMS, UHD) if kind == "film" else (SHOWS,)
        chosen = [library for library in libraries if library not in self.excluded]
        bad = {file.server_id for file in unreadable}
        with self.database.connection() as connection:
            with connection.begin():
                write_libraries(connection, chosen)
            sync = (
                EpisodeSync(connection)
                if kind == "episode"
                else TitleSync(connection, "movie" if kind == "film" else "series")
            )
            for library in chosen:
                files = self.server.listed(library, kind)
                files = files[: int(len(files) * cut.get(library, 1))]
                read = [file for file in files if file.server_id not in bad]
                describe = self.server.episode if kind == "episode" else self.server.title
                for start in range(0, len(read), 3):
                    sync.add(library, [describe(file) for file in read[start : start + 3]])
            coverage = Coverage(
                complete=[library.library_id for library in chosen if library not in cut],
                unreadable=list(bad),
                excluded=[library.library_id for library in self.excluded],
            )
            return sync.merge(coverage, RULES)

    def read_history(self, user: str, *, full: bool = False) -> None:
        """Sync one user's history as the asset does. Refused removals are expected when much of the library is gone."""
        with contextlib.suppress(RemovalRefused):
            reader = HistoryReader(
                self.server,  # pyright: ignore[reportArgumentType]
                self.database,
                Clock(lambda: self.now),
                record_states,
            )
            reader.read(self.users[user], full=full)
