"""A media server behind HTTP, a folder that it sees, and what was placed there: to publish without a database."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from aperture_dagster.media_server.records import MediaSource, PublishedItem
from aperture_dagster.media_server.writer import MediaServerWriter
from aperture_dagster.publishing.disk.desired import DesiredLibrary, PictureSource
from aperture_dagster.publishing.disk.entries import EntryForm
from aperture_dagster.publishing.disk.entries import build_library as build
from aperture_dagster.publishing.disk.listed import ListedTitle, ListSpec, Original, OriginalEpisode
from aperture_dagster.publishing.disk.names import is_list_folder
from aperture_dagster.publishing.disk.nfo import TitleFacts
from aperture_dagster.publishing.disk.root_folder import MARKER
from aperture_dagster.publishing.disk.roots import RootChoice, Roots
from aperture_dagster.publishing.placed import LibraryList, PlacedEntry, PlacedLibrary, PlacedList
from aperture_dagster.publishing.server.access_plan import AccessRules
from aperture_dagster.publishing.server.libraries import Build, LibraryPublisher, PublishingHome, Wanted
from aperture_dagster.publishing.server.outcomes import PublishingOutcome
from aperture_dagster.publishing.server.playlists import DesiredList, ListPublisher
from aperture_dagster.publishing.server.work import PublishingRun
from aperture_dagster.simulator.server import RunningSimulator
from aperture_dagster_tests.media_server.writers import ROOT, connect, household, user_id, views_of, writing

LOG = logging.getLogger("publishing")


class Memory:
    """A manifest that this process remembers; see :class:`aperture_dagster.publishing.manifest.Manifest`."""

    def __init__(self) -> None:
        self._libraries: dict[str, PlacedLibrary] = {}
        self._entries: dict[str, dict[str, PlacedEntry]] = {}
        self._lists: dict[tuple[str, str, str], PlacedList] = {}
        self.settings: set[tuple[str, str, str]] = set()
        self.lists_of_users: dict[str, LibraryList] = {}
        self.copies: dict[str, int] = {}
        self.writes: list[str] = []
        """What was written, in order."""
        self.is_locked = False

    @contextmanager
    def exclusively(self, *, patient: bool = True) -> Iterator[bool]:
        assert not self.is_locked
        self.is_locked = True
        try:
            yield True
        finally:
            self.is_locked = False

    def unread(self) -> set[str]:
        return {key for key, one in self._libraries.items() if one.unverified_since is not None}

    def libraries(self) -> dict[str, PlacedLibrary]:
        return dict(self._libraries)

    def entries(self, list_key: str) -> dict[str, PlacedEntry]:
        return dict(self._entries.get(list_key, {}))

    def write_library(self, library: PlacedLibrary) -> None:
        self._write(f"library {library.list_key}")
        self._libraries[library.list_key] = library

    def write_entries(self, list_key: str, entries: Iterable[PlacedEntry], *, removed: Iterable[str] = ()) -> int:
        known, rows, gone = self._entries.setdefault(list_key, {}), list(entries), list(removed)
        changed = [row for row in rows if known.get(row.entry_id) != row]
        self._write(f"entries {list_key}")
        known.update({row.entry_id: row for row in rows})
        for one in gone:
            known.pop(one, None)
        return len(changed) + len(gone)

    def forget_library(self, list_key: str) -> None:
        self._write(f"forget {list_key}")
        self._libraries.pop(list_key, None)
        self._entries.pop(list_key, None)

    def write_copies(self, copies: Mapping[str, int], folder: str) -> int:
        new = {key: value for key, value in copies.items() if self.copies.get(key) != value}
        self.copies |= copies
        return len(new)

    def forget_other_copies(self, list_key: str, shown: Collection[str]) -> None:
        pass

    def known_copies(self, server_ids: Iterable[str]) -> set[str]:
        return self.copies.keys() & set(server_ids)

    def lists(self) -> list[PlacedList]:
        return list(self._lists.values())

    def write_list(self, placed: PlacedList) -> None:
        self._write(f"list {placed.list_key}")
        self._lists[placed.list_key, placed.kind, placed.user_id] = placed

    def forget_list(self, placed: PlacedList) -> None:
        self._write(f"forget list {placed.list_key}")
        self._lists.pop((placed.list_key, placed.kind, placed.user_id), None)

    def settings_set(self) -> set[tuple[str, str, str]]:
        return set(self.settings)

    def note_settings(self, added: Iterable[tuple[str, str, str]], removed: Iterable[tuple[str, str, str]]) -> None:
        self.settings = (self.settings - set(removed)) | set(added)

    @contextmanager
    def policies(self) -> Iterator[None]:
        yield

    def library_lists(self) -> dict[str, LibraryList]:
        return dict(self.lists_of_users)

    def write_library_list(self, given: LibraryList) -> None:
        self.lists_of_users[given.user_id] = given

    def forget_library_list(self, user_id: str) -> None:
        self.lists_of_users.pop(user_id, None)

    def _write(self, what: str) -> None:
        assert self.is_locked, "written while another process may publish"
        self.writes.append(what)


class Posters:
    """Posters that hold what they were drawn from."""

    def __init__(self) -> None:
        self.prepared: list[PictureSource] = []

    def prepare(self, pictures: Iterable[PictureSource]) -> None:
        self.prepared += pictures

    def draw(self, picture: PictureSource) -> bytes | None:
        assert picture in self.prepared
        return repr(picture).encode()


class Place(PublishingHome):
    """The home, as users of its media server and a person with a shell see it. Users and films go by their names."""

    def __init__(self, running: RunningSimulator, writer: MediaServerWriter, root: Path) -> None:
        self.running, self.state, self.writer, self.root = running, running.state, writer, root
        self.manifest, self.posters = Memory(), Posters()
        self.choice = RootChoice(root, ROOT, owner="us")
        self.form = EntryForm("symlink", with_ids=False)
        self.viewers: dict[str, frozenset[str]] = {}
        """Of libraries that are not published in a run, by list key."""
        self._seen_by: dict[str, frozenset[str]] = {}
        self.credited: list[tuple[str, int]] = []
        """List and work of entries whose plays were read before they disappeared."""
        self.passed = timedelta(0)
        self.sleep: Callable[[float], None] | None = None
        """What a run does between two looks at the server; None: it waits."""
        self.last: LibraryPublisher | None = None
        self.run_of_publishing: PublishingRun | None = None
        libraries = writer.libraries()
        self.items: dict[str, PublishedItem] = {}
        self.episodes: dict[str, list[PublishedItem]] = {}
        for library, types in (("Movies", "Movie"), ("TV Shows", "Series,Episode")):
            found = writer.library_items(next(one for one in libraries if one.name == library), types)
            self.items |= {item.name: item for item in found if item.item_type != "Episode"}
            for item in found:
                if item.item_type == "Episode" and item.series_item_id is not None:
                    self.episodes.setdefault(item.series_item_id, []).append(item)
        # As a catalogue would number them: by name, whatever the server's ids are.
        self.numbers = {name: number for number, name in enumerate(sorted(self.items), start=1)}

    def now(self) -> datetime:
        return datetime.now(UTC) + self.passed

    def wait(self, seconds: float) -> None:
        """Let time pass for everybody."""
        self.state.advance(seconds)
        self.passed += timedelta(seconds=seconds)

    def user(self, name: str) -> str:
        return user_id(self.writer, name)

    # Publishing

    def title(self, name: str, rank: int, **changes: Any) -> ListedTitle:
        """A title of the server, as a list has it."""
        item = self.items[name]
        episodes = self.episodes.get(item.server_item_id, [])
        files = self.writer.original_files([item.server_item_id, *(one.server_item_id for one in episodes)])
        number = self.numbers[name]
        copy = Original(number, item.server_item_id, _sources(files.get(item.server_item_id)), "tag")
        found = [
            OriginalEpisode(
                one.season, one.number, None, one.name, None, 1000 * number + place, one.server_item_id,
                _sources(files.get(one.server_item_id)),
            )
            for place, one in enumerate(sorted(episodes, key=lambda one: (one.season or 0, one.number or 0)))
            if one.season is not None and one.number is not None
        ]  # fmt: skip
        usual: dict[str, Any] = {
            "work_id": 100 + number,
            "rank": rank,
            "facts": TitleFacts(name, datetime(2000, 1, 1, tzinfo=UTC), "", year=2001, provider_ids={"tmdb": "11"}),
            "copies": (copy,),
            "episodes": {number: found},
        }
        return ListedTitle(**usual | changes)

    def wanted(
        self, owner: str | None, *titles: str | ListedTitle, media_type: Any = "movie", name: str | None = None,
        viewers: Sequence[str] | None = None, **how: Any,
    ) -> dict[str, Build]:  # fmt: skip
        """The list of a user, or of everybody, by titles in rank order."""
        listed = [self.title(one, rank) if isinstance(one, str) else one for rank, one in enumerate(titles, start=1)]
        key = self.key(owner, media_type)
        seen_by = [owner] if viewers is None and owner is not None else viewers or ("ada", "bo", "cleo")
        self._seen_by[key] = frozenset(map(self.user, seen_by))
        spec = ListSpec(
            key,
            name if name is not None else f"{owner or 'everybody'}'s picks",
            media_type,
            self.user(owner) if owner is not None else None,
            self._seen_by[key],
            **how,
        )

        def desired(placed: Mapping[str, PlacedEntry], moment: datetime) -> DesiredLibrary:
            return build(spec, listed, placed, self.form, moment=moment)

        return {key: desired}

    @staticmethod
    def key(owner: str | None, media_type: str = "movie") -> str:
        return f"recommendations/{owner}/{media_type}" if owner else f"top_picks/{media_type}"

    def publish(
        self, *wanted: dict[str, Build], retired: Sequence[str] = (), dry_run: bool = False, errors: bool = False,
        strict: bool = False, hide_own: bool = False, seconds: float | None = None, follows: bool = False,
        first: Collection[str] | None = None, **choice: Any,
    ) -> list[PublishingOutcome]:  # fmt: skip
        """Publish, as a run does; raises the first error of a library unless ``errors`` are wanted.

        A run that ``follows`` begins with the lists of the keys ``first``.
        """
        writer = connect(self.server, self.running, dry_run=True) if dry_run else self.writer
        self.run_of_publishing = self._new_run(writer, **choice)
        published = {key: self._seen_by[key] for each in wanted for key in each}
        rules = AccessRules(
            strict, hide_own, lambda record: (published | self.viewers).get(record.list_key, frozenset())
        )
        self.last = publisher = LibraryPublisher(self.run_of_publishing, rules, self)
        libraries = {key: one for each in wanted for key, one in each.items()}

        def want(keys: Collection[str] | None) -> Wanted:
            keys = first if keys is None else keys
            return Wanted(
                {key: one for key, one in libraries.items() if keys is None or key in keys},
                [key for key in retired if keys is None or key in keys],
            )

        publisher.place(want)
        publisher.wait(want, seconds=seconds, follows=follows)
        outcomes = publisher.outcomes
        for outcome in outcomes:
            if outcome.error is not None and not errors:
                raise outcome.error
        return outcomes

    def _new_run(self, writer: MediaServerWriter, **choice: Any) -> PublishingRun:
        manifest: Any = self.manifest
        return PublishingRun(
            writer, manifest, Roots(manifest, replace(self.choice, **choice), dry_run=writer.dry_run), LOG, self.now,
            sleep=self.sleep or (lambda seconds: time.sleep(0.002)),
            elapsed=lambda: time.monotonic() + self.passed.total_seconds(),
        )  # fmt: skip

    @property
    def warnings(self) -> list[str]:
        assert self.run_of_publishing is not None
        return self.run_of_publishing.warnings

    @property
    def server(self) -> str:
        settings = self.state.settings
        return "emby" if settings.media_server == "emby" else settings.jellyfin_version

    def credit(self, record: PlacedLibrary, entries: Sequence[PlacedEntry], library: Any) -> None:
        shown = {name for one in self.writer.libraries() for name in [one.name]}
        assert record.name in shown, "plays on a copy that is gone cannot be read"
        assert library is not None and library.name == record.name
        self.credited += [(record.list_key, entry.work_id or 0) for entry in entries]

    def renew(self) -> None:
        pass

    def titles_of(self, work_ids: Iterable[int]) -> dict[int, str]:
        return {work: self._name(work) for work in work_ids}

    def _name(self, work: int) -> str:
        return next(name for name, number in self.numbers.items() if 100 + number == work)

    def lists(
        self, *wanted: DesiredList, retired: Sequence[PlacedList] = (), dry_run: bool = False
    ) -> list[PublishingOutcome]:
        """Publish collections and playlists."""
        writer = connect(self.server, self.running, dry_run=True) if dry_run else self.writer
        return ListPublisher(self._new_run(writer), {}).publish(wanted, retired=retired)

    # What is there

    def libraries(self) -> dict[str, Any]:
        # Without whether a scan is under way.
        found = (replace(library, refresh_status="Idle", refresh_progress=None) for library in self.writer.libraries())
        return {library.name: library for library in found}

    def shown(self, library: str, item_type: str = "Movie") -> list[str]:
        """The names of a library's items in the order in which clients show them."""
        items = self.writer.library_items(self.libraries()[library], item_type)
        return [item.name for item in sorted(items, key=lambda item: item.sort_name or item.name)]

    def rating(self, library: str, film: str) -> str | None:
        items = self.writer.library_items(self.libraries()[library], "Movie")
        return next(item.official_rating for item in items if item.name == film)

    def ids(self, library: str) -> dict[str, str]:
        items = self.writer.library_items(self.libraries()[library], "Movie")
        return {item.name: item.server_item_id for item in items}

    def views(self, user: str) -> list[str]:
        """The published libraries that a user sees."""
        own = {one.name for one in self.writer.libraries() if is_list_folder(one.locations[0].rpartition("/")[2])}
        return [name for _, name in views_of(self.writer, self.user(user), hidden=False) if name in own]

    def files(self) -> dict[str, int]:
        """Every file below the root, without its marker, with its inode."""
        return {
            path.relative_to(self.root).as_posix(): path.lstat().st_ino
            for path in sorted(self.root.rglob("*"))
            if (path.is_symlink() or not path.is_dir()) and path.name != MARKER.name
        }

    def titles_on_disk(self, owner: str | None) -> list[str]:
        """The titles for which there are folders in a library, by name."""
        record = self.manifest.libraries()[self.key(owner)]
        return sorted(path.name.partition(" (")[0] for path in (self.root / record.folder).iterdir() if path.is_dir())

    def writes(self) -> dict[str, int]:
        """How many requests of each kind changed something on the server."""
        return dict(self.writer.writes)


def _sources(files: Any) -> tuple[MediaSource, ...]:
    """The versions of a title, as the server names them, without what lies beside them."""
    return tuple(replace(one, side_cars=()) for one in (files.sources if files is not None else ()))


@contextmanager
def a_place(tmp_path: Path, server: str = "10.11.11", **settings: Any) -> Iterator[Place]:
    """Serve the household by a version of Jellyfin or by Emby."""
    root = tmp_path / "published"
    root.mkdir(exist_ok=True)
    with writing(server, root, world=settings.pop("world", None) or household(), **settings) as (running, writer):
        yield Place(running, writer, root)
