"""Publish lists: from the database to the media server. The assets and ``aperture publish`` both use it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal
from zoneinfo import ZoneInfo

from aperture_dagster.defs.failures import MissingPrerequisite
from aperture_dagster.defs.publishing.gather import Gathered, gather
from aperture_dagster.defs.publishing.posters import Posters
from aperture_dagster.library.parental import within_limit
from aperture_dagster.publishing.entries import EntryForm, ListedTitle, ListSpec, build_library
from aperture_dagster.publishing.forms import HISTORY_PER_ITEM, choose_form, choose_ids
from aperture_dagster.publishing.lists import DesiredList, ListKind, ListPublisher
from aperture_dagster.publishing.manifest import PlacedEntry, PlacedLibrary, PlacedList
from aperture_dagster.publishing.outcome import Outcome, PublishingError, PublishOptions
from aperture_dagster.publishing.paths import PathMap
from aperture_dagster.publishing.plan import DesiredLibrary
from aperture_dagster.publishing.preflight import examine_publishing
from aperture_dagster.publishing.publisher import Publisher
from aperture_dagster.publishing.roots import Roots
from aperture_dagster.resources.errors import NotFound, RequestRejected
from aperture_dagster.storage.copies import entry_folder_in, record_states
from aperture_dagster.storage.owner import ensure_owner, read_owner
from aperture_dagster.storage.people import read_users
from aperture_dagster.storage.publishable import finished_copies, work_titles
from aperture_dagster.storage.published import StoredManifest
from aperture_dagster.storage.queries import database_time

if TYPE_CHECKING:
    from aperture_dagster.resources.clock import Clock
    from aperture_dagster.resources.database import Database
    from aperture_dagster.resources.media_server.records import PublishedLibrary
    from aperture_dagster.resources.media_server.writer import MediaServerWriter
    from aperture_dagster.settings import Settings

Kind = Literal["recommendations", "top_picks", "shows_you_watch"]
KINDS: tuple[Kind, ...] = ("recommendations", "top_picks", "shows_you_watch")
LIST_KINDS: tuple[ListKind, ...] = ("collection", "playlist")
MEDIA_TYPES = ("movie", "series")
TYPE_NAMES = {
    "recommendations": {"movie": "Movies", "series": "TV Series"},
    "top_picks": {"movie": "Movies", "series": "Series"},
}


@dataclass(slots=True)
class Published:
    """What publishing gave: an outcome per library, warnings for the operator, and what was sent."""

    outcomes: list[Outcome]
    warnings: list[str] = field(default_factory=list)
    writes: Mapping[str, int] = field(default_factory=dict)
    refreshes: int = 0
    requests: int = 0


def why_not_published(settings: Settings) -> str | None:
    """Return why nothing is published; None if publishing is on.

    Raises:
        MissingPrerequisite: it is on, but a setting is missing.
    """
    if not settings.publish:
        return "skipped: APERTURE_PUBLISH is off"
    if settings.publish_root is None:
        raise MissingPrerequisite(
            "APERTURE_PUBLISH is on, but APERTURE_PUBLISH_ROOT is not set: set it to a folder that this machine and "
            "the media server both see."
        )
    return None


def is_on(settings: Settings, kind: Kind) -> bool:
    """Tell whether lists of a kind are published as libraries."""
    switch = {
        "recommendations": settings.recommendation_libraries,
        "top_picks": settings.top_picks_libraries,
        "shows_you_watch": settings.shows_you_watch_libraries,
    }
    return settings.publish and switch[kind]


def has_lists(settings: Settings, kind: Kind, list_kind: ListKind) -> bool:
    """Tell whether lists of a kind are published as collections or as playlists."""
    switches = {
        ("recommendations", "collection"): settings.recommendation_collections,
        ("recommendations", "playlist"): settings.recommendation_playlists,
        ("top_picks", "collection"): settings.top_picks_collections,
        ("top_picks", "playlist"): settings.top_picks_playlists,
    }
    return settings.publish and switches.get((kind, list_kind), False)


def is_published(settings: Settings, kind: Kind) -> bool:
    """Tell whether lists of a kind are published in any form."""
    return is_on(settings, kind) or any(has_lists(settings, kind, list_kind) for list_kind in LIST_KINDS)


def kind_of(list_key: str) -> Kind:
    """Return what kind of list a key belongs to."""
    return next(kind for kind in KINDS if list_key.startswith(f"{kind}/"))


class Publication:
    """One run of publishing.

    Args:
        settings: what is published, and how.
        database: lists, catalogue and manifest.
        server: the media server.
        clock: the time.
        log: for the operator.
        fetch_from_tmdb: downloads a picture by TMDb's path.
        dry_run: plan only.
        accept_root: take the folder of the settings for the root although it has no marker.
        forget_root: a folder that is gone for good; what cannot be removed there is forgotten.
    """

    def __init__(
        self,
        settings: Settings,
        database: Database,
        server: MediaServerWriter,
        clock: Clock,
        log: logging.Logger,
        *,
        fetch_from_tmdb: Callable[[str], bytes | None] = lambda path: None,
        dry_run: bool = False,
        accept_root: bool = False,
        forget_root: Path | None = None,
    ) -> None:
        self._settings, self._database, self._server, self._clock, self._log = settings, database, server, clock, log
        self._dry_run = dry_run
        self._paths = PathMap(settings.path_map)
        self._root = settings.publish_root.expanduser() if settings.publish_root is not None else None
        self._accepted = frozenset({self._root} if self._root is not None and accept_root else ())
        self._forgotten = frozenset({forget_root} if forget_root is not None else ())
        self._version = server.server()
        self._posters = Posters(server, settings.home_path / "posters", fetch_from_tmdb)
        self.manifest = StoredManifest(database.transaction, database.connection, dry_run=dry_run)
        with database.transaction() as connection:
            users = read_users(connection)
            self._owner = read_owner(connection)
        self._names = {user.user_id: user.name for user in users}
        self.users = settings.participants(users)
        self._by_id = {user.user_id: user for user in self.users}
        self._warnings: list[str] = []

    def publish(self, kinds: Collection[Kind], *, only_users: Collection[str] | None = None) -> Published:
        """Publish the lists of some kinds, of all users who take part or of some by id.

        Lists of users who no longer take part, and of kinds that are switched off, are retired. A list that is empty
        although titles of it are published is left as it is.

        Raises:
            PublishingError: no library could be published; nothing was changed.
            AlreadyPublishing: another process publishes at the moment; nothing was changed.
        """
        # Held to the end: what is read now must be published before another process publishes what it reads later.
        with self.manifest.exclusively():
            return self._publish(kinds, only_users)

    def _publish(self, kinds: Collection[Kind], only_users: Collection[str] | None) -> Published:
        # Nothing is marked as ours before all of this is right.
        roots = Roots(self.manifest, self._options(), modified_at=lambda: 0, dry_run=True)
        preflight = examine_publishing(self._settings, self._server, roots)
        if preflight.problems:
            raise PublishingError(f"Nothing is published, and nothing was changed. {' '.join(preflight.problems)}")
        self._warnings = preflight.warnings
        self._identify()
        self._mark_originals()
        specs = [spec for kind in kinds for spec in self._specs(kind, only_users)]
        access = {user.user_id: user.access for user in self.users}
        now = self._clock.now()
        today = now.astimezone(ZoneInfo(self._settings.schedule_timezone)).date()
        gathered = gather(specs, access, self._database, self._server, now=now, today=today, remember=not self._dry_run)
        records = self.manifest.libraries()
        wanted = {
            spec.list_key: self._build(spec, gathered)
            for spec in specs
            if is_on(self._settings, kind_of(spec.list_key))
            and (gathered.titles[spec.list_key] or (spec.most_episodes is not None and spec.list_key in records))
        }
        publisher = self._publisher(self._viewers_of)
        outcomes = publisher.publish(wanted, retired=self._retired(kinds, records))
        lists, stale = self._lists(specs, gathered, kinds, grouped=preflight.hides_members)
        outcomes += self._list_publisher().publish(lists, retired=stale)
        return self._result(publisher, outcomes)

    def publish_all(self) -> Published:
        """Publish the lists of all kinds."""
        return self.publish(KINDS)

    def unpublish(self) -> Published:
        """Retire everything that was placed: libraries, collections, playlists, files, and what users were set.

        Raises:
            AlreadyPublishing: another process publishes at the moment; nothing was changed.
        """
        with self.manifest.exclusively():
            self._identify()
            publisher = self._publisher(lambda record: frozenset())
            outcomes = publisher.publish({}, retired=list(self.manifest.libraries()))
            outcomes += self._list_publisher().publish([], retired=self.manifest.lists())
        return self._result(publisher, outcomes)

    def _identify(self) -> None:
        """Give this installation the identity by which it marks its folders."""
        if not self._dry_run:
            with self._database.transaction() as connection:
                self._owner = ensure_owner(connection)

    def _publisher(self, viewers_of: Callable[[PlacedLibrary], frozenset[str]]) -> Publisher:
        return Publisher(
            self._server,
            self.manifest,
            self._options(),
            self._log,
            viewers_of=viewers_of,
            credit=self._credit,
            posters=self._posters,
            title_of=self._titles,
            now=self._clock.now,
            dry_run=self._dry_run,
        )

    def _list_publisher(self) -> ListPublisher:
        return ListPublisher(self._server, self.manifest, self._log, self._names)

    def _result(self, publisher: Publisher, outcomes: list[Outcome]) -> Published:
        for outcome in outcomes:
            outcome.whose = self._names.get(outcome.owner or "", "")
        warnings = list(dict.fromkeys([*self._warnings, *publisher.warnings]))
        for warning in warnings:
            self._log.warning(warning)
        return Published(outcomes, warnings, dict(self._server.writes), publisher.refreshes, self._server.requests)

    # What is wanted

    def _specs(self, kind: Kind, only_users: Collection[str] | None) -> Iterator[ListSpec]:
        settings = self._settings
        if kind == "top_picks":
            everybody = frozenset(self._by_id)
            for media_type in MEDIA_TYPES:
                name = settings.top_picks_name.format(type=TYPE_NAMES[kind][media_type], username="")
                yield ListSpec(f"{kind}/{media_type}", name, media_type, None, everybody, badges=settings.rank_badges)
            return
        for user in self.users:
            if only_users is not None and user.user_id not in only_users:
                continue
            own = frozenset({user.user_id})
            if kind == "shows_you_watch":
                name = settings.shows_you_watch_name.format(username=user.name, type=TYPE_NAMES["top_picks"]["series"])
                yield ListSpec(
                    f"{kind}/{user.user_id}",
                    name,
                    "series",
                    user.user_id,
                    own,
                    most_episodes=settings.shows_you_watch_episodes,
                )
                continue
            for media_type in MEDIA_TYPES:
                name = settings.recommendation_name.format(username=user.name, type=TYPE_NAMES[kind][media_type])
                yield ListSpec(f"{kind}/{user.user_id}/{media_type}", name, media_type, user.user_id, own)

    def _retired(self, kinds: Collection[Kind], records: Mapping[str, PlacedLibrary]) -> list[str]:
        """Lists that are published as libraries and should no longer be."""
        retired = []
        for record in records.values():
            kind = kind_of(record.list_key)
            left = record.user_id is not None and record.user_id not in self._by_id
            if kind in kinds and (left or not is_on(self._settings, kind)):
                retired.append(record.list_key)
        return retired

    def _build(self, spec: ListSpec, gathered: Gathered) -> Callable[[Mapping[str, PlacedEntry]], DesiredLibrary]:
        how = self._form()

        def build(placed: Mapping[str, PlacedEntry]) -> DesiredLibrary:
            return build_library(
                spec,
                gathered.titles[spec.list_key],
                placed,
                how,
                now=self._clock.now(),
                skipped=gathered.skipped[spec.list_key],
            )

        return build

    def _lists(
        self, specs: Sequence[ListSpec], gathered: Gathered, kinds: Collection[Kind], *, grouped: bool
    ) -> tuple[list[DesiredList], list[PlacedList]]:
        """The collections and playlists that should be there, and those that should no longer be."""
        wanted: list[DesiredList] = []
        unsuitable: set[tuple[str, str, str]] = set()
        for spec in specs:
            for list_kind in LIST_KINDS:
                if not has_lists(self._settings, kind_of(spec.list_key), list_kind):
                    continue
                if list_kind == "collection" and grouped:
                    continue
                titles = gathered.titles[spec.list_key]
                as_episode = list_kind == "playlist" and spec.media_type == "series"
                for owner in [""] if list_kind == "collection" else sorted(spec.viewers):
                    suitable = self._suitable(titles, owner)
                    items = tuple(item for one in suitable if (item := _list_item(one, as_episode)) is not None)
                    if items:
                        wanted.append(DesiredList(spec.list_key, list_kind, owner, spec.name, items))
                    elif titles and not suitable:
                        unsuitable.add((spec.list_key, list_kind, owner))
                    # Any other empty list means that something went wrong before: what is there stays.
        stale = []
        for placed in self.manifest.lists():
            kind = kind_of(placed.list_key)
            owner = placed.list_key.split("/")[1] if kind != "top_picks" else placed.user_id
            left = bool(owner) and owner not in self._by_id
            left = left or (placed.list_key, placed.kind, placed.user_id) in unsuitable
            if kind in kinds and (left or not has_lists(self._settings, kind, placed.kind)):
                stale.append(placed)
        return wanted, stale

    def _suitable(self, titles: Sequence[ListedTitle], owner: str) -> list[ListedTitle]:
        """The titles within the parental limit of a playlist's owner; a collection has no owner."""
        limit = self._by_id[owner].max_parental_rating if owner else None
        return [one for one in titles if within_limit(one.copies[0].official_rating, limit)]

    # How it is published

    def _form(self) -> EntryForm:
        product, version = self._version.product, self._version.version
        return EntryForm(
            form=choose_form(self._settings.publish_as, product, version),
            with_ids=choose_ids(self._settings.publish_provider_ids, product, version),
            # Emby reads the NFO of a locked item again; Jellyfin does not.
            lock=product == "emby",
            premiered=product != "emby",
            find_here=self._find_here,
        )

    def _options(self) -> PublishOptions:
        return PublishOptions(
            root=self._root,
            root_on_server=self._paths.to_server(self._root) if self._root is not None else None,
            strict_access=self._settings.publish_strict_access,
            hide_own_from_latest=not self._keeps_history_per_item(),
            wait_seconds=self._settings.publish_wait_seconds,
            poll_seconds=self._settings.publish_poll_seconds,
            owner=self._owner,
            accepted_roots=self._accepted,
            forgotten_roots=self._forgotten,
            find_here=self._paths.to_here,
        )

    def _keeps_history_per_item(self) -> bool:
        return self._version.product == "jellyfin" and self._version.version >= HISTORY_PER_ITEM

    def _find_here(self, server_path: str) -> tuple[Path, int] | None:
        path = self._paths.to_here(server_path)
        try:
            return (path, path.stat().st_ino) if path is not None else None
        except OSError:
            return None

    def _viewers_of(self, record: PlacedLibrary) -> frozenset[str]:
        return frozenset(self._by_id) if record.user_id is None else frozenset({record.user_id}) & self._by_id.keys()

    def _titles(self, work_ids: Iterable[int]) -> Mapping[int, str]:
        with self._database.transaction() as connection:
            return work_titles(connection, list(work_ids))

    # What was watched on published copies

    def _credit(self, record: PlacedLibrary, entries: Sequence[PlacedEntry], library: PublishedLibrary | None) -> None:
        """Read the plays on copies that are about to disappear, so that they are not lost.

        The server is asked which copies there are: an earlier run may have ended before it recorded their ids.
        """
        if library is None or not library.item_id:
            return
        folders = {entry.folder for entry in entries}
        items = self._server.library_items(library, "Movie" if record.media_type == "movie" else "Series,Episode")
        copies = [one.server_item_id for one in items if entry_folder_in(one.path) in folders]
        with self._database.transaction() as connection:
            started_at = database_time(connection)
        for user_id in self._viewers_of(record):
            try:
                for page in self._server.reader.states_of(user_id, copies):
                    started = [state for state in page if state.has_content]
                    with self._database.transaction() as connection:
                        record_states(
                            connection,
                            user_id,
                            started,
                            now=self._clock.now(),
                            requested_at=started_at,
                        )
            except (NotFound, RequestRejected):
                # Of a user who was deleted on the server since the users were read, there is nothing to lose.
                if user_id in self._server.user_objects():
                    raise

    def _mark_originals(self) -> None:
        """Mark originals as played whose copies were finished, where the server does not share that."""
        if not self._settings.mark_originals_played or not self._keeps_history_per_item():
            return
        with self._database.transaction() as connection:
            finished = finished_copies(connection)
        for row in finished:
            if row["user_id"] in self._by_id:
                try:
                    self._server.mark_played(row["user_id"], row["server_item_id"], row["last_played_at"])
                except (NotFound, RequestRejected) as error:
                    # The user or the original may be gone since they were read.
                    self._log.warning(f"What was watched on a copy was not marked on the original: {error}")


def _list_item(title: ListedTitle, as_episode: bool) -> str | None:
    """What stands for a title in a collection or playlist, by its id on the server.

    In a playlist, a series is represented by its first episode, since the server would put in all of them.
    """
    copy = title.copies[0]
    if not as_episode:
        return copy.server_item_id
    episodes = [one for one in title.episodes[copy.item_id] if one.season > 0]
    first = min(episodes, key=lambda one: (one.season, one.number), default=None)
    return first.server_item_id if first is not None else None
