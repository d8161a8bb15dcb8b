"""Compare what a library should hold with what was placed there and what is on disk."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from aperture_dagster.publishing.disk.desired import DesiredEntry, DesiredFile, DesiredLibrary, PictureSource
from aperture_dagster.publishing.placed import EntryState, PlacedEntry, PlacedFile

# Jellyfin 10.11.3 and newer read an NFO again only if it is more than a minute newer than the item's last save, which a
# scan or a playback moves. Two minutes leave room for the scan itself.
NFO_PAUSE = timedelta(minutes=2)


@dataclass(frozen=True, slots=True)
class EntryPlan:
    """What changes in one entry: files to write, paths to remove. ``placed`` is None for a new entry."""

    entry: DesiredEntry
    placed: PlacedEntry | None
    write: tuple[DesiredFile, ...]
    remove: tuple[str, ...]

    @property
    def summary(self) -> str:
        """The kinds of files that change."""
        return ", ".join(sorted({"video" if one.is_original else one.kind for one in self.write})) or "files removed"

    def record(self, state: EntryState, files: Mapping[str, PlacedFile]) -> PlacedEntry:
        """The entry with its files, as the manifest remembers it in a state."""
        entry, before = self.entry, self.placed
        return PlacedEntry(
            entry_id=entry.entry_id,
            work_id=entry.work_id,
            folder=entry.folder,
            rank=entry.rank,
            state=state,
            date_added=entry.date_added,
            nfo_changed_at=before.nfo_changed_at if before is not None else None,
            files=files,
            because=entry.because,
        )


@dataclass(slots=True)
class LibraryPlan:
    """What changes in a library. ``waiting`` entries change in a later run."""

    library: DesiredLibrary
    add: list[EntryPlan] = field(default_factory=list)
    change: list[EntryPlan] = field(default_factory=list)
    remove: list[PlacedEntry] = field(default_factory=list)
    waiting: list[DesiredEntry] = field(default_factory=list)
    kept: int = 0

    @property
    def changes(self) -> int:
        """How many entries change."""
        return len(self.add) + len(self.change) + len(self.remove)

    @property
    def disappearing(self) -> list[PlacedEntry]:
        """The entries that leave, and those that lose a film or an episode, such as one that was watched."""
        changed = [one for one in self.change if one.placed is not None and _loses_original(one.placed, one.remove)]
        return [*self.remove, *(one.placed for one in changed if one.placed is not None)]

    def lines(self, titles: Mapping[int, str]) -> list[str]:
        """Describe the plan for people, a line per entry; ``titles`` are those of works that leave."""
        return [
            *(f"+ {plan.entry.rank:>3}. {plan.entry.title}" for plan in self.add),
            *(f"~ {plan.entry.rank:>3}. {plan.entry.title} ({plan.summary})" for plan in self.change),
            *(f"- {titles.get(entry.work_id or 0, entry.folder)}" for entry in self.remove),
            *(
                f"  {entry.rank:>3}. {entry.title} waits: its NFO changed less than two minutes ago"
                for entry in self.waiting
            ),
        ]


def plan_library(
    library: DesiredLibrary,
    placed: Mapping[str, PlacedEntry],
    intact: Mapping[str, Collection[str]],
    *,
    now: datetime,
) -> LibraryPlan:
    """Compare a library with what was placed.

    Args:
        library: as it should be.
        placed: what was placed, by entry id.
        intact: paths of files that are on disk as they were placed, by entry id.
        now: an NFO that was replaced less than two minutes ago is not replaced again.
    """
    plan = LibraryPlan(library)
    for entry in library.entries:
        before = placed.get(entry.entry_id)
        if before is None:
            plan.add.append(EntryPlan(entry, None, entry.files, ()))
            continue
        there = intact.get(entry.entry_id, ())
        write = tuple(
            file for file in entry.files if file.path not in there or _differs(file, before.files.get(file.path))
        )
        wanted = {file.path for file in entry.files}
        remove = tuple(path for path in before.files if path not in wanted)
        if not write and not remove:
            if before.state == "placed" and before.rank == entry.rank:
                plan.kept += 1
            else:
                plan.change.append(EntryPlan(entry, before, (), ()))
        elif _must_wait(write, before, there, now):
            plan.waiting.append(entry)
        else:
            plan.change.append(EntryPlan(entry, before, write, remove))
    wanted_ids = {entry.entry_id for entry in library.entries}
    plan.remove += [entry for key, entry in placed.items() if key not in wanted_ids]
    return plan


def _loses_original(placed: PlacedEntry, paths: Iterable[str]) -> bool:
    return any(placed.files[path].kind not in ("nfo", "poster", "artwork") for path in paths)


def _differs(wanted: DesiredFile, placed: PlacedFile | None) -> bool:
    return placed is None or (placed.kind, placed.digest) != (wanted.kind, wanted.digest)


def _must_wait(write: Sequence[DesiredFile], placed: PlacedEntry, intact: Collection[str], now: datetime) -> bool:
    """Tell whether an NFO would be replaced too soon after the last time."""
    if placed.nfo_changed_at is None or placed.state != "placed":
        return False
    replaced = any(one.kind == "nfo" and one.path in intact for one in write)
    # A date in the future comes from a wrong clock.
    return replaced and timedelta(0) <= now - placed.nfo_changed_at < NFO_PAUSE


def planned_entries(plan: LibraryPlan) -> Iterator[PlacedEntry]:
    """The entries with every file that will or may be there."""
    for each in [*plan.change, *plan.add]:
        before = each.placed.files if each.placed is not None else {}
        yield each.record("planned", {**before, **{one.path: PlacedFile(one.kind, one.digest) for one in each.write}})
    for entry in plan.remove:
        yield replace(entry, state="leaving")


def pictures_of(plans: Iterable[LibraryPlan]) -> Iterator[PictureSource]:
    """Yield the pictures of the posters that will be written."""
    for plan in plans:
        for each in [*plan.change, *plan.add]:
            yield from (one.picture for one in each.write if one.picture is not None)
