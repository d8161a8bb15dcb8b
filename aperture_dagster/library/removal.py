"""When titles that are missing from a listing may be taken as gone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

FEW_MARKS = 5
FEW_TITLES = 20
"""So many titles may go at once whatever their share: an operator who tidies up a small library is right."""
# What is called otherwise than the asset that holds it.
ASSETS = {"films": "movies"}


class RemovalRefused(Exception):
    """Too much of a library vanished at once. Nothing was removed; the message says how to accept it."""


@dataclass(frozen=True, slots=True)
class LibraryLoss:
    """How many titles of a library are missing, of how many that were there."""

    name: str
    missing: int
    present: int

    @property
    def share(self) -> float:
        """0-1."""
        return self.missing / self.present if self.present else 0.0


def check_removals(losses: Mapping[str, LibraryLoss], *, limit: float, accepted: bool, what: str) -> None:
    """Pass when what is missing may be removed.

    Args:
        losses: by library.
        limit: the share of a library that may vanish at once, 0-1.
        accepted: the operator has said that it is right.
        what: "films" and so on, for the message.

    Raises:
        RemovalRefused: a library lost more than the limit and more than a few titles, or all that it had, which is
            what a disk that is not mounted looks like; and nobody accepted it.
    """
    if accepted:
        return
    refused = [
        loss
        for loss in losses.values()
        if (loss.share > limit and loss.missing > FEW_TITLES) or loss.missing == loss.present > 1
    ]
    if refused:
        told = ", ".join(
            f"{loss.missing} of {loss.present} {what} of {loss.name!r} ({loss.share:.0%})" for loss in refused
        )
        raise RemovalRefused(
            f"The server no longer lists {told}. A loss of everything, or of more than {limit:.0%} and more than "
            f"{FEW_TITLES}, usually means a disk that is not mounted, so nothing was removed. "
            f"If the server is right, run {ASSETS.get(what, what)} with the config accept_removals: true."
        )


def check_history_loss(user: str, *, listed: int, lost: int, known: int, limit: float, accepted: bool) -> None:
    """Pass when marks of a user's history may be taken back.

    Args:
        user: their name, for the message.
        listed: items that the server says the user played, started or marked.
        lost: items that would lose their mark.
        known: items that are known as marked, and are still in the library.
        limit: the share that may go at once, 0-1; a handful may always go, a person can do that in an evening.
        accepted: the operator has said that it is right.

    Raises:
        RemovalRefused: too much of the history is missing.
    """
    if accepted or lost <= 0 or (listed > 0 and (lost <= FEW_MARKS or lost <= limit * known)):
        return
    raise RemovalRefused(
        f"The server lists {listed} items that {user} watched or marked; {lost} of the {known} known here would lose "
        "their mark. That is too many at once: no mark was taken back, what is new was written. "
        "If the server is right, run watch_history with the config accept_removals: true."
    )
