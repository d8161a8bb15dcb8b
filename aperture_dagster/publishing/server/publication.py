"""Publish lists: from the database to the media server. The assets and ``aperture publish`` both use it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal
from zoneinfo import ZoneInfo

from aperture_dagster.catalogue.parental import within_limit
from aperture_dagster.catalogue.people import User, who_takes_part
from aperture_dagster.catalogue.stored_users import read_users
from aperture_dagster.http.errors import NotFound, RequestRejected
from aperture_dagster.members.choices import Choices, read_choices
from aperture_dagster.model import MEDIA_TYPES
from aperture_dagster.postgres.identity import ensure_owner
from aperture_dagster.postgres.queries import database_time
from aperture_dagster.publishing.copies.moving import StateMover
from aperture_dagster.publishing.copies.originals import entry_folder_in, record_states
from aperture_dagster.publishing.disk.desired import DesiredLibrary
from aperture_dagster.publishing.disk.entries import EntryForm, build_library
from aperture_dagster.publishing.disk.forms import choose_form, merges_versions, shares_history
from aperture_dagster.publishing.disk.gather import Gathered, gather
from aperture_dagster.publishing.disk.listed import ListedTitle, ListSpec
from aperture_dagster.publishing.disk.pictures import Posters
from aperture_dagster.publishing.disk.queries import work_titles
from aperture_dagster.publishing.disk.roots import Roots, root_choice
from aperture_dagster.publishing.manifest import Manifest, note_shown
from aperture_dagster.publishing.placed import PlacedEntry, PlacedLibrary, PlacedList
from aperture_dagster.publishing.server.access import Viewers
from aperture_dagster.publishing.server.access_plan import AccessRules
from aperture_dagster.publishing.server.for_later import playlist_for_later
from aperture_dagster.publishing.server.libraries import Build, LibraryPublisher, PublishingHome, Want, Wanted
from aperture_dagster.publishing.server.outcomes import PublishingError, PublishingOutcome
from aperture_dagster.publishing.server.places import Places
from aperture_dagster.publishing.server.playlists import DesiredList, ListKind, ListPublisher
from aperture_dagster.publishing.server.preflight import Preflight, examine_publishing
from aperture_dagster.publishing.server.work import PublishingRun
from aperture_dagster.texts import texts_of

if TYPE_CHECKING:
    from aperture_dagster.enrichment.tmdb.images import TmdbImages
    from aperture_dagster.media_server.records import MediaType, PublishedLibrary
    from aperture_dagster.media_server.writer import MediaServerWriter
    from aperture_dagster.model import Clock
    from aperture_dagster.postgres.database import Database
    from aperture_dagster.settings import Settings
    from aperture_dagster.worklist.services import MeteredService

Kind = Literal["recommendations", "top_picks", "shows_you_watch", "for_later"]
# What lists of a kind are called in the setting, and in names of assets.
STEMS: dict[Kind, str] = {
    "recommendations": "recommendation", "top_picks": "top_picks", "shows_you_watch": "shows_you_watch",
    "for_later": "for_later",
}  # fmt: skip
KINDS = tuple(STEMS)
# Kinds whose lists can be libraries. What members put aside is a playlist only.
LIBRARY_KINDS: tuple[Kind, ...] = ("recommendations", "top_picks", "shows_you_watch")
FORMS: dict[Literal["library", "collection", "playlist"], str] = {
    "library": "libraries", "collection": "collections", "playlist": "playlists",
}  # fmt: skip
# Of each series that a user is in the middle of.
NEXT_EPISODES = 10
LIST_KINDS: tuple[ListKind, ...] = ("collection", "playlist")
TYPE_NAMES: dict[MediaType, str] = {"movie": "Movies", "series": "Series"}


@dataclass(slots=True)
class PublishingResult:
    """What publishing gave: an outcome per library, warnings for the operator, and what was sent.

    ``access`` says what changed in users' policies.
    """

    outcomes: list[PublishingOutcome]
    warnings: list[str] = field(default_factory=list)
    access: list[str] = field(default_factory=list)
    writes: Mapping[str, int] = field(default_factory=dict)
    refreshes: int = 0
    requests: int = 0


def why_not_published(settings: Settings) -> str | None:
    """Return why nothing is published; None if publishing is on.

    Raises:
        PublishingError: it is on, but a setting is missing.
    """
    if not settings.publish:
        return "skipped: APERTURE_PUBLISH is off"
    if settings.publish_as == "rows":
        return "skipped: lists are rows on the home screen (APERTURE_PUBLISH_AS), and nothing is placed on the server"
    if settings.publish_root is None:
        raise PublishingError(
            "APERTURE_PUBLISH is on, but APERTURE_PUBLISH_ROOT is not set: set it to a folder that this machine and "
            "the media server both see."
        )
    return None


def is_on(settings: Settings, kind: Kind, form: Literal["library", "collection", "playlist"]) -> bool:
    """Tell whether lists of a kind are published in a form."""
    return settings.publish and f"{STEMS[kind]}_{FORMS[form]}" in settings.publish_lists


def is_published(settings: Settings, kind: Kind) -> bool:
    """Tell whether lists of a kind are published in any form."""
    return any(is_on(settings, kind, form) for form in FORMS)


def why_own_lists_are_not_published(settings: Settings) -> str | None:
    """Return why no list of a single user is published; None if such lists are."""
    if not settings.publish or settings.publish_as == "rows":
        return "skipped: nothing is placed on the server"
    of_users = any(is_published(settings, kind) for kind in KINDS if kind != "top_picks")
    return None if of_users else "skipped: switched off in the settings"


def kind_of(list_key: str) -> Kind:
    """Return what kind of list a key belongs to."""
    return next(kind for kind in STEMS if list_key.startswith(f"{kind}/"))


@dataclass(slots=True)
class _Want:
    """Reads what should be there, and keeps what it has read last."""

    read: Callable[[_Want, Collection[str] | None], Wanted]
    specs: Sequence[ListSpec] = ()
    gathered: Gathered = field(default_factory=Gathered)

    def __call__(self, keys: Collection[str] | None) -> Wanted:
        """Read it, of all lists or of those with some keys."""
        return self.read(self, keys)


class Publication(PublishingHome):
    """One run of publishing.

    Args:
        settings: what is published, and how.
        database: lists, catalogue and manifest.
        server: the media server; in a dry run, nothing is written.
        clock: the time.
        log: for the operator.
        tmdb_images: has posters of titles that the server has no picture of; what places no posters needs none.
        accept_root: whether the folder of the settings is taken for the root although it has no marker.
    """

    def __init__(
        self,
        settings: Settings,
        database: Database,
        server: MediaServerWriter,
        clock: Clock,
        log: logging.Logger,
        *,
        tmdb_images: MeteredService[TmdbImages] | None = None,
        accept_root: bool = False,
    ) -> None:
        self._settings, self._database, self._server, self._clock, self._log = settings, database, server, clock, log
        self._version = server.server()
        self._shares_history = shares_history(self._version.product, self._version.version)
        self._tmdb_images, self._accept_root = tmdb_images, accept_root
        self._mover = StateMover(database, clock, server, log)
        waiting = "Another run is publishing: waiting for it, for up to a quarter of an hour."
        self.manifest = Manifest(
            database.transaction, database.connection, dry_run=server.dry_run, waiting=lambda: log.info(waiting)
        )
        self.renew()

    def renew(self) -> None:
        """Read who takes part now, and what they have chosen."""
        with self._database.transaction() as connection:
            users = read_users(connection)
            self._choices = read_choices(connection)
        self._names = {user.user_id: user.name for user in users}
        self.users = who_takes_part(self._settings, users)
        self._by_id = {user.user_id: user for user in self.users}
        # Whose own lists are published; Top Picks are everybody's.
        self._owners = [user for user in self.users if self._choice(user).publish]

    def publish(
        self, kinds: Collection[Kind], *, only_users: Collection[str] | None = None, seconds: float | None = None
    ) -> PublishingResult:
        """Publish the lists of some kinds, of all users who take part or of some by id.

        Lists of users who no longer take part, and of kinds that are switched off, are retired. A list that is empty
        although titles of it are published is left as it is, unless its user has hidden all of these.

        Others may publish while the server is waited for, which takes ``seconds`` at most.

        Raises:
            PublishingError: no library could be published; nothing was changed.
            AlreadyPublishing: another process publishes at the moment; nothing was changed.
        """
        # Held until all is placed: what is read now must be published before another process publishes what it reads
        # later.
        with self.manifest.exclusively():
            run, preflight = self._begin()
            publisher, want = self._publisher(run), self._want(kinds, only_users, run)
            publisher.place(want)
            lists, stale = self._lists(want.specs, want.gathered, kinds, grouped=preflight.hides_members)
            lists += self._lists_for_later(kinds, only_users)
            outcomes = ListPublisher(run, self._names).publish(lists, retired=stale)
        return self._wait(run, publisher, want, outcomes, seconds=seconds)

    def show_when_read(self) -> PublishingResult:
        """Go on with what other runs have left to be read by the server, until nothing of it is left.

        Raises:
            PublishingError: something on the server must change first.
            AlreadyPublishing: another process has been publishing for long.
        """
        with self.manifest.exclusively():
            run, _ = self._begin()
            publisher, want = self._publisher(run), self._want(KINDS, None, run, only_unread=True)
            publisher.place(want)
        return self._wait(run, publisher, want, [], follows=True)

    def _begin(self) -> tuple[PublishingRun, Preflight]:
        run = self._new_run()
        # Nothing is marked as ours before all of this is right.
        preflight = examine_publishing(self._settings, self._server, run.roots)
        if preflight.problems:
            raise PublishingError(f"Nothing is published, and nothing was changed. {' '.join(preflight.problems)}")
        run.warnings += preflight.warnings
        self._identify(run)
        # It may have been long until it was our turn.
        self.renew()
        return run, preflight

    def _wait(
        self, run: PublishingRun, publisher: LibraryPublisher, want: Want, outcomes: list[PublishingOutcome], **how: Any
    ) -> PublishingResult:
        publisher.wait(want, **how)
        for user in self.users:
            self._mover.move_or_warn(user)
        return self._result(run, publisher, publisher.outcomes + outcomes)

    def _want(
        self, kinds: Collection[Kind], only_users: Collection[str] | None, run: PublishingRun, *,
        only_unread: bool = False,
    ) -> _Want:  # fmt: skip
        def read(want: _Want, keys: Collection[str] | None) -> Wanted:
            if keys is None and only_unread:
                keys = self.manifest.unread()
            specs = [spec for kind in LIBRARY_KINDS if kind in kinds for spec in self._specs(kind, only_users)]
            specs = [spec for spec in specs if keys is None or spec.list_key in keys]
            access = {user.user_id: user.visibility for user in self.users}
            now = self._clock.now().astimezone(ZoneInfo(self._settings.schedule_timezone))
            # What members put aside needs none of this.
            playing = self._server.reader.playing() if specs else ()
            gathered = (
                gather(specs, access, self._database, self._server, now, playing=playing) if specs else Gathered()
            )
            want.specs, want.gathered = specs, gathered
            records, how = self.manifest.libraries(), self._form(Places(self._server, run.roots))
            wanted = {
                spec.list_key: self._build(spec, gathered, how)
                for spec in specs
                if is_on(self._settings, kind_of(spec.list_key), "library")
                and (
                    gathered.titles[spec.list_key]
                    or (
                        spec.list_key in records
                        and (spec.most_episodes is not None or spec.list_key in gathered.hidden)
                    )
                )
            }
            retired = [] if only_unread else self._retired(kinds, records)
            return Wanted(wanted, [key for key in retired if keys is None or key in keys])

        return _Want(read)

    def publish_all(self) -> PublishingResult:
        """Publish the lists of all kinds."""
        return self.publish(KINDS)

    def share_new_libraries(self) -> list[str]:
        """Let users who were given a list of libraries see those that the operator has added since.

        It does not wait for another process that publishes. Returns what was done, a sentence for all who are alike.
        """
        run = self._new_run()
        granted = self._viewers(run).grant({}, (), only_listed=True)
        for error in granted.refused.values():
            raise error
        return run.describe_access()

    def has_new_libraries(self) -> bool:
        """Look, with one request, whether there is something for :meth:`share_new_libraries` to do."""
        return self._viewers(self._new_run()).has_new_libraries()

    def _viewers(self, run: PublishingRun) -> Viewers:
        return Viewers(run, Places(self._server, run.roots), self._rules())

    def _rules(self) -> AccessRules:
        return AccessRules(self._settings.publish_strict_access, self._shares_history, self._viewers_of)

    def unpublish(self, *, of: str | None = None) -> PublishingResult:
        """Retire everything that was placed: libraries, collections, playlists, files, and what users were set.

        ``of`` is the id of a user whose lists alone are retired; what is everybody's stays.

        Raises:
            AlreadyPublishing: another process publishes at the moment; nothing was changed.
        """
        with self.manifest.exclusively():
            run = self._new_run()
            self._identify(run)
            publisher = self._publisher(run)

            def want(keys: Collection[str] | None) -> Wanted:
                placed = [key for key, one in self.manifest.libraries().items() if of in (None, one.user_id)]
                return Wanted({}, [key for key in placed if keys is None or key in keys])

            publisher.place(want)
            lists = [one for one in self.manifest.lists() if of in (None, one.user_id, *one.list_key.split("/"))]
            outcomes = ListPublisher(run, self._names).publish([], retired=lists)
        publisher.wait(want)
        return self._result(run, publisher, publisher.outcomes + outcomes)

    def _new_run(self) -> PublishingRun:
        choice = root_choice(self._settings, self._database, accepted=self._accept_root)
        roots = Roots(self.manifest, choice, dry_run=self._server.dry_run)
        return PublishingRun(self._server, self.manifest, roots, self._log, now=self._clock.now)

    def _identify(self, run: PublishingRun) -> None:
        """Give this installation the identity by which it marks its folders."""
        if not self._server.dry_run:
            with self._database.transaction() as connection:
                run.roots.identify(ensure_owner(connection))

    def _publisher(self, run: PublishingRun) -> LibraryPublisher:
        self.posters = Posters(self._server, self._settings, self._tmdb_images)
        return LibraryPublisher(run, self._rules(), self)

    def _result(
        self, run: PublishingRun, publisher: LibraryPublisher, outcomes: list[PublishingOutcome]
    ) -> PublishingResult:
        for outcome in outcomes:
            outcome.whose = self._names.get(outcome.owner or "", "")
        for warning in run.warnings:
            self._log.warning(warning)
        return PublishingResult(
            outcomes,
            run.warnings,
            run.describe_access(),
            dict(self._server.writes),
            publisher.refreshes,
            self._server.requests,
        )

    # What is wanted

    def _specs(self, kind: Kind, only_users: Collection[str] | None) -> Iterator[ListSpec]:
        template, series = self._settings.publish_names[kind], TYPE_NAMES["series"]
        if kind == "top_picks":
            for media_type, label in TYPE_NAMES.items():
                name = self._settings.top_picks_rules[media_type].name or template.format(type=label, username="")
                yield ListSpec(f"{kind}/{media_type}", name, media_type, None, frozenset(self._by_id), badges=True)
            return
        for user in self._owners:
            if only_users is not None and user.user_id not in only_users:
                continue
            name_of_user = self._name_of(user)
            key, own = f"{kind}/{user.user_id}", frozenset({user.user_id})
            if kind == "shows_you_watch":
                name = template.format(username=name_of_user, type=series)
                yield ListSpec(key, name, "series", user.user_id, own, most_episodes=NEXT_EPISODES)
                continue
            for media_type, label in TYPE_NAMES.items():
                name = template.format(username=name_of_user, type=f"TV {label}" if media_type == "series" else label)
                yield ListSpec(f"{key}/{media_type}", name, media_type, user.user_id, own)

    def _name_of(self, user: User) -> str:
        """What stands for a user in the names of their lists."""
        return self._choice(user).list_name or user.name

    def _choice(self, user: User) -> Choices:
        return self._choices.get(user.user_id, Choices())

    def _retired(self, kinds: Collection[Kind], records: Mapping[str, PlacedLibrary]) -> list[str]:
        """Lists that are published as libraries and should no longer be."""
        retired, owners = [], {user.user_id for user in self._owners}
        for record in records.values():
            kind = kind_of(record.list_key)
            left = record.user_id is not None and record.user_id not in owners
            if kind in kinds and (left or not is_on(self._settings, kind, "library")):
                retired.append(record.list_key)
        return retired

    def _build(self, spec: ListSpec, gathered: Gathered, how: EntryForm) -> Build:
        def build(placed: Mapping[str, PlacedEntry], moment: datetime) -> DesiredLibrary:
            return build_library(
                spec,
                gathered.titles[spec.list_key],
                placed,
                how,
                moment=moment,
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
                if not is_on(self._settings, kind_of(spec.list_key), list_kind):
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
                    elif (titles and not suitable) or spec.list_key in gathered.hidden:
                        unsuitable.add((spec.list_key, list_kind, owner))
                    # Any other empty list means that something went wrong before: what is there stays.
        stale, owners = [], {user.user_id for user in self._owners}
        for placed in self.manifest.lists():
            kind = kind_of(placed.list_key)
            owner = placed.list_key.split("/")[1] if kind != "top_picks" else placed.user_id
            left = bool(owner) and owner not in (owners if kind != "top_picks" else self._by_id)
            left = left or (placed.list_key, placed.kind, placed.user_id) in unsuitable
            if kind in kinds and (left or not is_on(self._settings, kind, placed.kind)):
                stale.append(placed)
        return wanted, stale

    def _lists_for_later(self, kinds: Collection[Kind], only_users: Collection[str] | None) -> list[DesiredList]:
        """The playlists of what members put aside, empty ones included: an empty one is taken off the server."""
        if "for_later" not in kinds or not is_on(self._settings, "for_later", "playlist"):
            return []
        template = self._settings.publish_names["for_later"]
        owners = [user for user in self._owners if only_users is None or user.user_id in only_users]
        with self._database.transaction() as connection:
            return [
                playlist_for_later(connection, user, template.format(username=self._name_of(user), type=""))
                for user in owners
            ]

    def _suitable(self, titles: Sequence[ListedTitle], owner: str) -> list[ListedTitle]:
        """The titles within the parental limit of a playlist's owner; a collection has no owner."""
        limit = self._by_id[owner].max_parental_rating if owner else None
        return [title for title in titles if within_limit(title.copies[0].official_rating, limit)]

    # How it is published

    def _form(self, places: Places) -> EntryForm:
        product = self._version.product
        return EntryForm(
            form=choose_form(self._settings.publish_as, product),
            with_ids=self._shares_history and not merges_versions(self._server.plugins()),
            # Emby reads the NFO of a locked item again; Jellyfin does not.
            lock=product == "emby",
            premiered=product != "emby",
            reasons=self._settings.publish_reasons,
            texts={type_: texts_of(places.language(type_)[0]) for type_ in MEDIA_TYPES},
        )

    def _viewers_of(self, record: PlacedLibrary) -> frozenset[str]:
        return frozenset(self._by_id) if record.user_id is None else frozenset({record.user_id}) & self._by_id.keys()

    def titles_of(self, work_ids: Iterable[int]) -> Mapping[int, str]:
        """Return the titles of works, for the plan."""
        with self._database.transaction() as connection:
            return work_titles(connection, list(work_ids))

    # What was watched on published copies

    def credit(self, record: PlacedLibrary, entries: Sequence[PlacedEntry], library: PublishedLibrary | None) -> None:
        """Read the plays on copies that are about to disappear, and move them, so that they are not lost.

        The server is asked which copies there are: an earlier run may have ended before it recorded their ids.
        """
        if library is None or not library.item_id:
            return
        folders = {entry.folder for entry in entries}
        items = self._server.library_items(library, "Movie" if record.media_type == "movie" else "Series,Episode")
        copies = [item.server_item_id for item in items if entry_folder_in(item.path) in folders]
        with self._database.transaction() as connection:
            note_shown(connection, dict.fromkeys(copies, record.folder))
            started_at = database_time(connection)
        for user_id in self._viewers_of(record):
            try:
                for page in self._server.reader.states_of(user_id, copies):
                    started = [state for state in page if state.has_content]
                    with self._database.transaction() as connection:
                        record_states(connection, user_id, started, now=self._clock.now(), requested_at=started_at)
            except (NotFound, RequestRejected):
                # Of a user who was deleted on the server since the users were read, there is nothing to lose.
                if user_id in self._server.user_objects():
                    raise
                continue
            self._mover.move(user_id, leaving=copies)


def _list_item(title: ListedTitle, as_episode: bool) -> str | None:
    """What stands for a title in a collection or playlist, by its id on the server.

    In a playlist, a series is represented by its first episode, since the server would put in all of them.
    """
    copy = title.copies[0]
    if not as_episode:
        return copy.server_item_id
    episodes = [episode for episode in title.episodes[copy.item_id] if episode.season > 0]
    first = min(episodes, key=lambda one: (one.season, one.number), default=None)
    return first.server_item_id if first is not None else None
