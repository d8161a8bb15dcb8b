"""Guards against removing titles or history after an incomplete answer of the server."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

# The share of a library, or of a history, that may be removed at once.
REMOVAL_LIMIT = 0.2


# How many may always be removed at once: marks that a person can remove in an evening, and titles of a small library.
FEW_MARKS = 5


FEW_TITLES = 20


# Assets with another name than their items.
ASSETS = {"films": "movies"}


class RemovalRefused(Exception):
    """Too much would be removed at once. Nothing was removed; the message says how to accept the loss."""


@dataclass(frozen=True, slots=True)
class LibraryLoss:
    """Titles missing from a library, and titles that it had."""

    name: str
    missing: int
    present: int

    @property
    def share(self) -> float:
        """Share of the titles that is missing, 0-1."""
        return self.missing / self.present if self.present else 0.0


def check_removals(
    losses: Mapping[str, LibraryLoss], *, accepted: bool, what: str, limit: float = REMOVAL_LIMIT
) -> None:
    """Raise unless missing titles may be removed.

    Args:
        losses: by library.
        limit: the share of a library that may be removed at once, 0-1.
        accepted: by the operator.
        what: kind of item for the message, such as "films".

    Raises:
        RemovalRefused: a library lost more than the limit and more than a few titles, or everything (as when a disk is
            not mounted).
    """
    if accepted:
        return
    refused = [
        loss
        for loss in losses.values()
        if (loss.share > limit and loss.missing > FEW_TITLES) or loss.missing == loss.present > 1
    ]
    if refused:
        listed = ", ".join(
            f"{loss.missing} of {loss.present} {what} of {loss.name!r} ({loss.share:.0%})" for loss in refused
        )
        raise RemovalRefused(
            f"The server no longer lists {listed}. A loss of everything, or of more than {limit:.0%} and more than "
            f"{FEW_TITLES}, usually means a disk that is not mounted, so nothing was removed. "
            f"If the server is right, run {ASSETS.get(what, what)} with the config accept_removals: true."
        )


def is_great_loss(lost: int, *, known: int) -> bool:
    """Return whether so many of the known marks of a user are lost that it is not believed at once."""
    return lost > FEW_MARKS and lost > REMOVAL_LIMIT * known


def check_history_loss(user: str, *, listed: int, lost: int, known: int, accepted: bool) -> None:
    """Raise unless marks (played, started, favourite) may be removed from a user's history.

    Args:
        user: name for the message.
        listed: marked items that the server lists.
        lost: items that would lose their mark.
        known: marked items in the database that are still in the library. :data:`REMOVAL_LIMIT` of them may be removed
            at once, and up to ``FEW_MARKS`` always.
        accepted: by the operator.

    Raises:
        RemovalRefused: too much of the history is missing.
    """
    if accepted or lost <= 0 or (listed > 0 and not is_great_loss(lost, known=known)):
        return
    raise RemovalRefused(
        f"The server lists {listed} items that {user} watched or marked; {lost} of the {known} known items would lose "
        "their mark. That is too many at once, so no mark was removed; new plays were written. "
        "If the server is right, run watch_history with the config accept_removals: true."
    )
