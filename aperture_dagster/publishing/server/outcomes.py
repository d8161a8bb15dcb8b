"""The outcome of each library and list, and the errors of publishing, in words."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from aperture_dagster.model import counted, duration, listed
from aperture_dagster.model.errors import OperatorError
from aperture_dagster.publishing.disk.desired import DesiredEntry


class PublishingError(OperatorError):
    """Something on the media server or in its setup must change first; the message says what."""


class ScanTooLong(PublishingError):
    """The media server did not read a library, and its scan no longer makes progress.

    Args:
        name: of the library.
        stage: what became of it: new and ``hidden`` still, ``shown`` with a part of its changes, or ``untouched``.
        seconds: how long there has been no progress.
    """

    def __init__(self, name: str, stage: Literal["hidden", "shown", "untouched"], seconds: float) -> None:
        what, then = {
            "hidden": (f"did not read {name!r}", "Nothing of that is shown yet, and the next run goes on from there."),
            "shown": (f"did not read what changed in {name!r}", "The next run goes on from there."),
            "untouched": (f"is scanning, and nothing was changed in {name!r}", "The next run tries again."),
        }[stage]
        super().__init__(
            f"The media server {what}; the scan made no progress for {duration(seconds)}. If the server hangs, "
            f"restart it. {then}"
        )


class NotShown(PublishingError):
    """After its scan, the media server shows something else than what was published."""


MOST_NAMES = 10


@dataclass(slots=True)
class PublishingOutcome:
    """What happened to one library, collection or playlist.

    ``added``, ``changed``, ``removed`` and ``waiting`` count entries. ``listed`` are its entries now, ``ranks_before``
    the ranks of the last time by work id, ``left`` the titles that left. ``whose`` is the name of its owner.
    ``is_unread``: the run has ended before the server had read it, and another goes on with it.
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
    is_unread: bool = False
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


def explain_failures(outcomes: Sequence[PublishingOutcome], describe: Callable[[Exception], str] = str) -> str:
    """Say what failed and why: a sentence for each cause, with the names of the libraries that it hit.

    ``describe`` makes text of an error. Empty if nothing failed.
    """
    causes: dict[str, list[str]] = {}
    for outcome in outcomes:
        if outcome.error is not None:
            cause = describe(outcome.error).replace(repr(outcome.name), "\0").replace(outcome.name, "\0")
            causes.setdefault(cause, []).append(outcome.name)
    sentences = []
    for cause, names in causes.items():
        if "\0" not in cause:
            sentences.append(f"{some(names)}: {cause}")
            continue
        text = cause.replace("\0", repr(names[0]))
        sentences.append(text if len(names) == 1 else f"{text} The same goes for {some(names[1:])}.")
    return " ".join(sentences)
