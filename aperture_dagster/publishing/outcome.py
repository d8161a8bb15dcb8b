"""Options, outcomes and errors of publishing."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from aperture_dagster.errors import OperatorError
from aperture_dagster.publishing.plan import DesiredEntry
from aperture_dagster.wording import counted, duration, listed


class PublishingError(OperatorError):
    """Something on the media server or in its setup must change first; the message says what."""


class ScanTooLong(PublishingError):
    """The media server did not read a library, and its scan no longer makes progress.

    Args:
        names: of the libraries.
        stage: what became of them: new and ``hidden`` still, ``shown`` with a part of their changes, or ``untouched``.
        seconds: how long there has been no progress.
        total: how many libraries were published; None: only these.
    """

    def __init__(self, names: Sequence[str], stage: Stage, seconds: float, *, total: int | None = None) -> None:
        self.names, self.seconds = tuple(names), seconds
        self.stage: Stage = stage
        which = "" if total is None else f"{len(names):,} of {counted(total, 'libraries')}: "
        super().__init__(f"{_STAGES[stage].format(which + some(names), duration(seconds))}")


class NotShown(PublishingError):
    """After its scan, the media server shows something else than what was published."""


Stage = Literal["hidden", "shown", "untouched"]
_HANGS = "the scan made no progress for {1}. If the server hangs, restart it"
_STAGES: dict[Stage, str] = {
    "hidden": f"The media server did not read {{0}}; {_HANGS}. Nothing of that is shown yet, and the next run goes on "
    "from there.",
    "shown": f"The media server did not read what changed in {{0}}; {_HANGS}. The next run goes on from there.",
    "untouched": f"The media server is scanning, and nothing was changed in {{0}}; {_HANGS}. The next run tries again.",
}
MOST_NAMES = 10


@dataclass(frozen=True, slots=True)
class PublishOptions:
    """How to publish.

    Args:
        root: the folder of published libraries, as this machine sees it; None: nothing can be published, only retired.
        root_on_server: the same, as the media server sees it.
        strict_access: see :func:`plan_access`.
        hide_own_from_latest: see :func:`plan_access`.
        wait_seconds: how long to wait for a scan that makes no progress.
        poll_seconds: interval at which its progress is read.
        owner: the identity of this installation, which marks its folders.
        accepted_roots: folders that are taken for roots although they have no marker.
        forgotten_roots: folders that are gone for good: files that cannot be removed there are forgotten.
        find_here: returns a path of the server as this machine sees it; None if it does not.
    """

    root: Path | None
    root_on_server: str | None
    strict_access: bool
    hide_own_from_latest: bool
    wait_seconds: float
    poll_seconds: float
    owner: str | None = None
    accepted_roots: frozenset[Path] = frozenset()
    forgotten_roots: frozenset[Path] = frozenset()
    find_here: Callable[[str], Path | None] = lambda path: None


@dataclass(slots=True)
class Outcome:
    """What happened to one library, collection or playlist.

    ``added``, ``changed``, ``removed`` and ``waiting`` count entries. ``listed`` are its entries now, ``ranks_before``
    the ranks of the last time by work id, ``left`` the titles that left. ``left_behind`` says why the files of a
    retired library are still on disk. ``whose`` is the name of its owner.
    """

    list_key: str
    name: str
    user_id: str | None
    kind: Literal["library", "collection", "playlist"] = "library"
    entries: int = 0
    added: int = 0
    changed: int = 0
    removed: int = 0
    waiting: int = 0
    rows_written: int = 0
    skipped: tuple[str, ...] = ()
    listed: tuple[DesiredEntry, ...] = ()
    ranks_before: Mapping[int, int] = field(default_factory=dict)
    left: list[str] = field(default_factory=list)
    plan: list[str] = field(default_factory=list)
    created: bool = False
    retired: bool = False
    left_behind: str | None = None
    whose: str = ""
    error: Exception | None = None

    @property
    def owner(self) -> str | None:
        """The user whose list it is, by its key; None for a list that is for everybody.

        A collection has no ``user_id``, even if it is made from the list of a user.
        """
        _, _, rest = self.list_key.partition("/")
        return self.user_id or (None if rest in ("movie", "series") else rest.partition("/")[0])

    @property
    def label(self) -> str:
        """What it is, and whose: names of playlists are the same for everybody."""
        return f'{self.kind.capitalize()} "{self.name}"{f" of {self.whose}" if self.whose else ""}'

    @property
    def changes(self) -> int:
        """How many entries changed."""
        return self.added + self.changed + self.removed


def some(names: Sequence[str]) -> str:
    """List names, the first of them if there are many."""
    more = [counted(len(names) - MOST_NAMES, "others")] if len(names) > MOST_NAMES else []
    return listed([*names[:MOST_NAMES], *more])


def why_unread(names: Sequence[str]) -> str:
    """Say that the server has not shown libraries long after they were placed, and what to do."""
    return (
        f"The media server has not shown what was placed in {some(names)} for hours: publish again with `aperture "
        "publish`, and restart the server if its scan does not go on."
    )


def explain_failures(outcomes: Sequence[Outcome], describe: Callable[[Exception], str] = str) -> str:
    """Say what failed and why: a sentence for each cause, with the names of the libraries that it hit.

    ``describe`` makes text of an error. Empty if nothing failed.
    """
    stalled: dict[tuple[Stage, float], list[str]] = {}
    others: dict[str, list[str]] = {}
    for one in outcomes:
        if isinstance(one.error, ScanTooLong):
            what: tuple[Stage, float] = (one.error.stage, one.error.seconds)
            stalled.setdefault(what, []).append(one.name)
        elif one.error is not None:
            cause = describe(one.error).replace(repr(one.name), "\0").replace(one.name, "\0")
            others.setdefault(cause, []).append(one.name)
    total = sum(one.kind == "library" for one in outcomes)
    sentences = [str(ScanTooLong(names, stage, seconds, total=total)) for (stage, seconds), names in stalled.items()]
    for cause, names in others.items():
        if "\0" not in cause:
            sentences.append(f"{some(names)}: {cause}")
            continue
        text = cause.replace("\0", repr(names[0]))
        sentences.append(text if len(names) == 1 else f"{text} The same goes for {some(names[1:])}.")
    return " ".join(sentences)


def joined_error(errors: Iterable[Exception | None]) -> Exception | None:
    """Return the first of several errors; libraries that were not read for the same reason are named together."""
    found = [error for error in errors if error is not None]
    if not found or not isinstance(first := found[0], ScanTooLong):
        return found[0] if found else None
    names = [name for one in found if isinstance(one, ScanTooLong) and one.stage == first.stage for name in one.names]
    return ScanTooLong(names, first.stage, first.seconds)
