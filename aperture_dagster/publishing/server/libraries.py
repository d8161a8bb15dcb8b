"""Bring libraries on the media server to their desired state, in an order that never shows anybody a wrong one.

Verify what an earlier run placed; record what will be placed; create the library disabled; place files, the video last;
let the server scan; record the ids of the copies; verify what it shows; set who may see it; enable it. From the scan
on, each library takes these steps as soon as the server has read it, whatever the others do. A failure before the files
leaves the previous list as it was; after a later one, the next run continues from what differs. One library's failure
costs only that library.

While a run waits for the server, it holds nothing, and others may publish. So it believes nothing of what it knew: what
another run has published meanwhile is left to that run, and what it held back is compared again from the beginning.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from aperture_dagster.model import Progress
from aperture_dagster.publishing.disk.desired import DesiredLibrary
from aperture_dagster.publishing.disk.folder import FolderError
from aperture_dagster.publishing.disk.names import list_folder
from aperture_dagster.publishing.disk.paths import as_path
from aperture_dagster.publishing.disk.pictures import Posters
from aperture_dagster.publishing.disk.plan import pictures_of, plan_library, planned_entries
from aperture_dagster.publishing.placed import PlacedEntry, PlacedLibrary
from aperture_dagster.publishing.server import polling
from aperture_dagster.publishing.server.access import Viewers
from aperture_dagster.publishing.server.access_plan import AccessRules
from aperture_dagster.publishing.server.outcomes import PublishingError, PublishingOutcome, ScanTooLong
from aperture_dagster.publishing.server.places import Places, by_place, library_names
from aperture_dagster.publishing.server.polling import Watch
from aperture_dagster.publishing.server.retirement import FAILURES_IN_A_ROW, Leaving, Retirement
from aperture_dagster.publishing.server.verifying import LibraryReader
from aperture_dagster.publishing.server.waiting import Waiting
from aperture_dagster.publishing.server.work import PublishingRun, Work

if TYPE_CHECKING:
    from aperture_dagster.media_server.records import PublishedLibrary

CHECKED_ORIGINALS = 3
# What becomes known of a library, or changes in its record, without anything being placed.
NOT_PLACED: dict[str, Any] = {
    "server_item_id": None, "policy_id": None, "missing": 0, "changed": 0, "unverified_since": None,
    "created_at": None,
}  # fmt: skip
SMALLEST_SKEW = timedelta(seconds=2)


JOIN_SECONDS = 30.0
"""How often a run that follows others looks for libraries that they have left to be read."""

Build = Callable[[Mapping[str, PlacedEntry], datetime], DesiredLibrary]


@dataclass(frozen=True, slots=True)
class Wanted:
    """What should be there: by list key, what makes the desired library.

    That is given the entries that are placed, and the moment from which the dates of the titles are counted.
    ``retired`` are the keys of lists that are no longer published.
    """

    libraries: Mapping[str, Build]
    retired: Collection[str] = ()


Want = Callable[[Collection[str] | None], Wanted]
"""Reads what should be there now, of all lists or of those with some keys."""


class PublishingHome(ABC):
    """What publishing needs of the home, beside the lists.

    Attributes:
        posters: makes posters.
    """

    posters: Posters

    @abstractmethod
    def credit(self, record: PlacedLibrary, entries: Sequence[PlacedEntry], library: PublishedLibrary | None) -> None:
        """Save the plays on published copies that are about to disappear, with their library on the server."""

    @abstractmethod
    def titles_of(self, work_ids: Iterable[int]) -> Mapping[int, str]:
        """Return the titles of works, for the plan."""

    @abstractmethod
    def renew(self) -> None:
        """Read again who takes part: the run has waited, and others may have changed that."""


class LibraryPublisher:
    """Publishes libraries.

    Args:
        run: what the steps of this run share.
        rules: who may see what.
        home: what it needs of the home.
    """

    def __init__(self, run: PublishingRun, rules: AccessRules, home: PublishingHome) -> None:
        self._run, self._rules, self._home = run, rules, home
        self._server, self._manifest, self._roots, self._log = (
            run.server, run.manifest, run.roots, run.log,
        )  # fmt: skip
        self._dry_run = run.server.dry_run
        self._foreign_places: list[str] = []
        self._reachable: dict[str, bool] = {}
        self._places = Places(self._server, self._roots)
        self._retirement = Retirement(run, home.credit)
        self._viewers = Viewers(run, self._places, rules)
        self._reader = LibraryReader(run, self._places)
        self._works: list[Work] = []
        self._leaving: list[Leaving] = []
        self._has_waited = False

    @property
    def refreshes(self) -> int:
        """How often the server was asked to read a library, or all of them."""
        return self._reader.refreshes

    @property
    def outcomes(self) -> list[PublishingOutcome]:
        """What happened to each library so far."""
        return [one.outcome for one in (*self._works, *self._leaving)]

    def place(self, want: Want) -> None:
        """Bring libraries to their desired state, retire others, and ask the server to read what has changed.

        Whether the server sees the root, and would not confuse it, is examined before; see :func:`examine_publishing`.
        A library that was placed below another root, as of earlier settings, is retired there first. What the server
        is scanning is held back.

        Raises:
            RootError: the folder to publish to is not the one that it was; nothing was changed.
            ServiceError: the media server does not answer, or refuses.
        """
        with self._manifest.exclusively():
            self._attempt(want(None))

    def wait(self, want: Want, *, seconds: float | None = None, follows: bool = False) -> None:
        """Wait for the server, show each library when it has been read, and publish what was held back when it can be.

        Nothing is held meanwhile: see the module. What is left after some ``seconds`` is recorded as not verified, so
        that a run that ``follows`` others goes on with it. Without a limit, it ends when the server makes no progress
        any more, and what is left has the error ``ScanTooLong``.
        """
        if self._dry_run:
            return
        waiting = Waiting(self._run, self._reader, self._places)
        waiting.add(self._awaited())
        known, joined_at = {work.library.list_key for work in self._works}, waiting.seconds
        while waiting.works or self._held() or (follows and self._manifest.unread() - known):
            ready = waiting.poll()
            keys = {key for key, place in self._held().items() if waiting.is_free(place)}
            if follows and (waiting.seconds - joined_at >= JOIN_SECONDS or not waiting.works):
                joined_at = waiting.seconds
                keys |= self._manifest.unread() - known
                known |= keys
            if ready or keys:
                # Whoever publishes now is done in a moment, or has its own to wait for.
                with self._manifest.exclusively(patient=False) as is_held:
                    if is_held:
                        self._continue(waiting, ready, keys, want)
                        known -= {work.library.list_key for work in self._works if work.is_superseded}
            if not waiting.works and not self._held():
                continue
            if waiting.is_stalled:
                self._give_up(waiting)
                return
            if seconds is not None and waiting.seconds >= seconds:
                for one in (*waiting.works, *(one for one in (*self._works, *self._leaving) if one.is_held)):
                    one.outcome.is_unread = True
                return
            waiting.sleep()

    def _continue(self, waiting: Waiting, ready: Sequence[Work], keys: Collection[str], want: Want) -> None:
        """Show what has been read, unless another run has published it meanwhile, and publish what could not be."""
        self._home.renew()
        self._has_waited = True
        records = self._roots.libraries()
        over = [work for work in ready if not self._is_ours(work, records) or waiting.settle(work)]
        waiting.remove(over)
        self._show(over)
        if keys:
            self._works = [
                work
                for work in self._works
                if not ((work.is_held or work.is_superseded) and work.library.list_key in keys)
            ]
            before = len(self._works)
            self._leaving = [one for one in self._leaving if not (one.is_held and one.record.list_key in keys)]
            self._attempt(want(keys))
            waiting.add(self._awaited(self._works[before:]))

    def _is_ours(self, work: Work, records: Mapping[str, PlacedLibrary]) -> bool:
        """Tell whether a library is still as this run has left it, and not verified yet."""
        key, noted = work.library.list_key, work.record
        record = records.get(key)
        since = record.unverified_since if record is not None else None
        work.is_superseded = (
            record is None
            or replace(record, **NOT_PLACED) != replace(noted, **NOT_PLACED)
            or since not in (None, noted.unverified_since)
            or self._manifest.entries(key) != work.left
        )
        if record is not None and not work.is_superseded:
            work.record = record
            if since is not None:
                return True
        work.needs_scan = work.is_being_read = False
        work.outcome.is_unread = since is not None
        return False

    def _awaited(self, works: Sequence[Work] | None = None) -> list[Work]:
        """Return the libraries that the server has been asked to read."""
        found = [
            work
            for work in (self._works if works is None else works)
            if (work.needs_scan or work.is_being_read) and not work.is_held and work.outcome.error is None
        ]
        for work in found:
            work.left = self._manifest.entries(work.library.list_key)
        return found

    def _held(self) -> dict[str, str]:
        """Return the libraries that were held back, by list key with their folders on the server."""
        works = {work.library.list_key: work.record for work in self._works if work.is_held}
        leaving = {one.record.list_key: one.record for one in self._leaving if one.is_held}
        return {key: self._places.location(record) for key, record in (leaving | works).items()}

    def _give_up(self, waiting: Waiting) -> None:
        for work in self._works:
            if work.is_held:
                work.outcome.error = ScanTooLong(work.library.name, "untouched", polling.WAIT_SECONDS)
        for one in self._leaving:
            if one.is_held:
                one.fail(ScanTooLong(one.record.name, "untouched", polling.WAIT_SECONDS))
        with self._manifest.exclusively(patient=False) as is_held:
            records = self._roots.libraries()
            for work in waiting.works:
                if is_held and self._is_ours(work, records):
                    self._reader.give_up(work)

    def _attempt(self, wanted: Wanted) -> None:
        """Publish what can be published now; the caller must have the right to publish."""
        records, noted = self._roots.libraries(), self._manifest.libraries()
        for key, record in records.items():
            if record != noted[key] and not self._dry_run:
                self._manifest.write_library(record)
        placed = list(records.values())
        self._check_server(is_wanted=bool(wanted.libraries))
        libraries = wanted.libraries
        moved = [key for key in libraries if key in records and not self._roots.is_current(records[key])]
        if moved:
            left = self._publish({}, moved, records)
            stuck = {one.record.list_key for one in left if one.outcome.error is not None or one.is_held}
            libraries = {key: build for key, build in libraries.items() if key not in stuck}
            records = {key: record for key, record in records.items() if key not in moved}
        self._publish(libraries, wanted.retired, records)
        self._roots.release(placed)

    def _publish(
        self, wanted: Mapping[str, Build], retired: Collection[str], records: Mapping[str, PlacedLibrary]
    ) -> list[Leaving]:
        works = [self._compare(records.get(key), key, build) for key, build in wanted.items()]
        leaving = [
            Leaving(one, PublishingOutcome(one.list_key, one.name, one.user_id, retired=True))
            for one in (records[key] for key in retired if key in records)
        ]
        self._works += works
        self._leaving += leaving
        self._retirement.check(leaving)
        going = [one for one in leaving if one.outcome.error is None]
        if self._dry_run:
            new = {work.library.list_key: (work.library.name, work.library.viewers) for work in works}
            self._viewers.preview(new, [one.record for one in going])
        else:
            self._carry_out(works, going)
        return leaving

    # Before anything is changed

    def _check_server(self, *, is_wanted: bool) -> None:
        """Read the server's clock and its other libraries, and make sure that the root is ours."""
        server = self._server.server()
        if server.clock is not None and abs(server.clock - self._run.now()) >= SMALLEST_SKEW:
            self._roots.clock_skew = server.clock - self._run.now()
        others = self._places.not_ours(self._server.libraries())
        self._foreign_places = [as_path(location) for other in others for location in other.locations]
        if is_wanted:
            self._roots.require_current()

    def _compare(self, record: PlacedLibrary | None, list_key: str, build: Build) -> Work:
        """Compare one library with what was placed."""
        name = record.folder if record is not None else list_folder(list_key)
        placed = self._manifest.entries(list_key) if record is not None else {}
        folder, intact, failure = self._roots.current_folder(name), {}, None
        try:
            placed |= {entry.entry_id: entry for entry in folder.strangers(placed.keys())}
            intact = folder.intact(placed.values())
        except FolderError as error:
            failure = error
        moment = record.created_at if record is not None else self._run.now()
        library = build(placed, moment)
        root, on_server = self._roots.current()
        if record is None:
            record = PlacedLibrary(
                list_key, library.user_id, library.media_type, library.name, name, str(root), on_server, moment
            )
        plan = plan_library(library, placed, intact, now=self._server_time())
        settled = [entry for entry in placed.values() if entry.state != "planned"]
        leaving = [entry.work_id for entry in plan.remove if entry.work_id is not None]
        titles = self._home.titles_of(leaving) if leaving else {}
        outcome = PublishingOutcome(
            list_key,
            library.name,
            library.user_id,
            entries=len(library.entries),
            added=len(plan.add),
            changed=len(plan.change),
            removed=len(plan.remove),
            waiting=len(plan.waiting),
            skipped=library.skipped,
            listed=library.entries,
            ranks_before={entry.work_id: entry.rank for entry in settled if entry.work_id is not None},
            left=sorted(titles.values()),
            plan=plan.lines(titles),
            error=failure,
        )
        return Work(library, record, folder, plan, outcome)

    # The order of operations

    def _carry_out(self, works: Sequence[Work], leaving: Sequence[Leaving]) -> None:
        self._find(works)
        self._each(works, self._check_shown)
        self._show(works)
        self._hold_back(works, leaving)
        every, works = works, [work for work in works if not work.is_held]
        leaving = [one for one in leaving if not one.is_held]
        self._each(
            [work for work in works if work.plan.disappearing],
            lambda work: self._home.credit(work.record, work.plan.disappearing, work.on_server),
        )
        if self._server.assigns_ids_at_once:
            self._create(works)
            if not self._server.can_disable:
                # Nobody must see more than they should even for a moment, so access comes before content. What leaves
                # is still there, so it stays hidden.
                self._set_access(every, [])
        self._each([work for work in works if work.needs_scan], self._check_originals)
        changing = [work for work in works if work.plan.changes and work.outcome.error is None]
        self._home.posters.prepare(pictures_of(work.plan for work in changing))
        self._each(changing, self._place, "placed")
        if not self._server.assigns_ids_at_once:
            self._create(works)
        # The last of these starts a scan of everything.
        self._retirement.delete(leaving, by_place(self._server.libraries()))
        self._ask(works)
        self._finish(every, leaving)
        for one in leaving:
            if one.outcome.error is None:
                self._retirement.remove_files(one)

    def _hold_back(self, works: Sequence[Work], leaving: Sequence[Leaving]) -> None:
        """Find out what must wait for the end of a scan, and record it: another run may have to go on."""
        changing = [work for work in works if work.needs_scan and work.outcome.error is None]
        if not changing and not leaving:
            return
        watch = Watch(self._run)
        listed = by_place(watch.poll())
        for work in changing:
            work.is_held = watch.is_occupied(listed.get(as_path(self._places.location(work.record))))
            if work.is_held:
                self._reader.hold_back(work)
        for one in leaving:
            one.is_held = watch.is_occupied(listed.get(as_path(self._places.location(one.record))))
        if any(one.is_held for one in (*changing, *leaving)):
            self._log.info("Waiting for a scan of the media server.")

    def _ask(self, works: Sequence[Work]) -> None:
        """Ask the server to read what changed."""
        changed = [work for work in works if work.needs_scan and work.outcome.error is None]
        self._each(changed, self._reader.begin)
        if all(work.on_server is not None and work.on_server.item_id for work in changed):
            self._each(changed, self._reader.refresh)
        else:
            self._reader.scan_everything()

    def _show(self, works: Sequence[Work]) -> None:
        """Set the access to the libraries that have been verified, and show those that are hidden still."""
        if any(_can_be_shown(work) for work in works):
            self._enable_verified(works, self._set_access(self._works, []))

    def _finish(self, works: Sequence[Work], leaving: Sequence[Leaving]) -> None:
        self._enable_verified(works, self._set_access(works, leaving))
        for work in works:
            if work.outcome.error is None and work.record.changed != work.outcome.changes:
                self._manifest.write_library(replace(work.record, changed=work.outcome.changes))

    def _enable_verified(self, works: Sequence[Work], unprotected: Mapping[str, str]) -> None:
        self._each([work for work in works if _can_be_shown(work)], lambda work: self._enable(work, unprotected))

    def _find(self, works: Iterable[Work]) -> None:
        """Find each library on the server by its folder; a name or an id proves nothing."""
        listed = by_place(self._server.libraries())
        for work in works:
            work.on_server = listed.get(as_path(self._places.location(work.record)))

    def _check_shown(self, work: Work) -> None:
        """Find out whether the server must read a library, and verify it if an earlier run did not."""
        work.is_renamed = work.on_server is not None and work.record.name not in library_names(work.library.name)
        work.needs_scan = (
            work.on_server is None or not work.on_server.item_id or work.is_renamed or bool(work.plan.changes)
        )
        self._reader.check(work)

    def _create(self, works: Sequence[Work]) -> None:
        """Create missing libraries, hidden from everybody where the server can do that."""
        missing = [work for work in works if work.on_server is None or work.is_renamed]
        if missing:
            self._each(missing, self._create_one)
            self._find(works)

    def _create_one(self, work: Work) -> None:
        work.folder.prepare()
        if work.on_server is not None:
            # Renaming would change its id as well. The folder stays, and with it the ids of everything inside.
            self._server.delete_library(work.on_server, scan=False)
        taken = {library.name.casefold() for library in self._server.libraries()}
        name = next(name for name in library_names(work.library.name) if name.casefold() not in taken)
        work.record = replace(work.record, name=name)
        self._reader.begin(work)
        self._server.create_library(
            name,
            work.library.media_type,
            self._places.location(work.record),
            language=self._places.language(work.library.media_type),
            enabled=False,
            scan=False,
        )
        work.outcome.created = True

    def _check_originals(self, work: Work) -> None:
        """Ask the server whether it sees the originals now: a scan while their disk is away would empty the library.

        One disk may hold some of the originals only, so a few of each folder of a library are checked.

        Raises:
            PublishingError: it does not.
        """
        targets = [file.target for entry in work.library.entries for file in entry.files if file.target is not None]
        for place in self._foreign_places:
            there = [target for target in targets if as_path(target).startswith(f"{place}/")]
            if not there:
                continue
            if place not in self._reachable:
                self._reachable[place] = any(self._server.path_exists(target) for target in there[:CHECKED_ORIGINALS])
            if not self._reachable[place]:
                raise PublishingError(
                    f"The media server does not see the files in {place}: is the disk mounted? {work.library.name!r} "
                    "was left as it is, since a scan would remove its titles."
                )

    def _place(self, work: Work) -> None:
        """Put the entries in place, each recorded before and after."""
        self._reader.begin(work)
        key = work.library.list_key
        self._manifest.write_entries(key, planned_entries(work.plan))
        work.folder.prepare()
        done: list[PlacedEntry] = []
        gone: list[str] = []
        try:
            for plan in [*work.plan.change, *work.plan.add]:
                entry = work.folder.place(plan, self._home.posters.draw)
                if plan.placed is not None and any(one.kind == "nfo" for one in plan.write):
                    entry = replace(entry, nfo_changed_at=self._server_time())
                done.append(entry)
            for entry in work.plan.remove:
                work.folder.remove(entry)
                gone.append(entry.entry_id)
        finally:
            work.outcome.rows_written += self._manifest.write_entries(key, done, removed=gone)

    def _set_access(self, works: Sequence[Work], leaving: Sequence[Leaving]) -> dict[str, str]:
        """Let exactly the right users see each library; return who could not be kept from others', with the reason."""
        granted = self._viewers.grant(
            {work.library.list_key: self._viewers_of(work) for work in works if not work.is_superseded},
            [one.record for one in leaving if one.outcome.error is None],
        )
        for work in works:
            known = granted.records.get(work.library.list_key)
            if known is not None:
                ids = {"server_item_id": known.server_item_id, "policy_id": known.policy_id}
                work.record = replace(work.record, **ids)
            work.outcome.error = work.outcome.error or granted.refused.get(work.library.user_id or "")
        return granted.unprotected

    def _enable(self, work: Work, unprotected: Mapping[str, str]) -> None:
        """Show a complete library, unless somebody who may see all libraries could not be kept from it.

        Raises:
            PublishingError: it stays hidden.
        """
        assert work.on_server is not None
        for user_id, refused in unprotected.items():
            if user_id not in self._viewers_of(work):
                raise PublishingError(f"{work.library.name!r} stays hidden, or others would see it: {refused}")
        self._server.set_library_options(work.on_server, {**work.on_server.options, "Enabled": True})
        work.on_server = replace(work.on_server, options={**work.on_server.options, "Enabled": True})

    # Helpers

    def _viewers_of(self, work: Work) -> frozenset[str]:
        """Return who may see a library, of those who take part now."""
        return self._rules.viewers_of(work.record) if self._has_waited else work.library.viewers

    def _each(self, works: Sequence[Work], act: Callable[[Work], None], done: str = "") -> None:
        """Act on each library that has not failed; one that fails now is left out of later steps.

        ``done`` is what to log as progress of long work.
        """
        in_a_row = 0
        progress = Progress(self._log, f"libraries {done}", len(works))
        for number, work in enumerate(works):
            if work.outcome.error is not None:
                continue
            try:
                act(work)
                in_a_row = 0
                if done:
                    progress.add()
            except Exception as error:
                work.outcome.error = error
                self._log.warning(f"{work.outcome.label}: {error}")
                in_a_row += 1
                if in_a_row == FAILURES_IN_A_ROW:
                    for rest in works[number + 1 :]:
                        rest.outcome.error = rest.outcome.error or error
                    return

    def _server_time(self) -> datetime:
        return self._run.now() + self._roots.clock_skew


def _can_be_shown(work: Work) -> bool:
    """Tell whether a library is verified, and hidden from everybody."""
    is_disabled = work.on_server is not None and work.on_server.options.get("Enabled") is False
    is_settled = work.is_verified and not work.needs_scan and not work.is_superseded
    return is_disabled and is_settled and work.outcome.error is None
