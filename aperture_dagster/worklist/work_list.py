"""How to work through the list of a source, and what became of each item."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Generic

from sqlalchemy import Connection

from aperture_dagster.http.errors import (
    BadAnswer,
    NotFound,
    RequestRejected,
    ServicePaused,
    ServiceUnavailable,
)
from aperture_dagster.worklist.due import Outcome
from aperture_dagster.worklist.fetches import DueItem
from aperture_dagster.worklist.services import Client, MeteredService
from aperture_dagster.worklist.source import Source

# So many unreachable in a row mean that the service is down, and not that single titles are odd.
FAILURES_UNTIL_DOWN = 8


@dataclass(slots=True)
class Attempt:
    """The outcome of asking about an item. ``found_id``: the id by which the source knows it, if it was looked up."""

    item: DueItem
    outcome: Outcome
    answer: Any = None
    detail: str | None = None
    unreachable: bool = False
    found_id: int | None = None


class WorkList(ABC, Generic[Client]):
    """How to work through the list of a source: how items are asked about, and where the answers go.

    Attributes:
        quota: the source's requests per day, if they are limited.
        concurrency: how many units may be asked about at once.
        what: what the items are called in the log.
        language: the one in which it is asked, if answers differ by language; those in another one are due.
        unit_size: current number of items in a unit; None: one, for sources that are not asked in batches.
        failures_until_down: after so many unreachable units in a row the service counts as down.
    """

    what: str = "titles"
    language: str | None = None
    unit_size: int | None = None
    failures_until_down: int = FAILURES_UNTIL_DOWN

    def __init__(self, source: Source, service: MeteredService[Client], client: Client) -> None:
        self.source, self.client = source, client
        self.quota, self.concurrency = service.quota, service.concurrency

    @abstractmethod
    def ask(self, unit: Sequence[DueItem]) -> Iterator[list[Attempt]]:
        """Ask about a unit (items of one group), and yield attempts as they are known.

        May raise any ServiceError; the engine decides which items it concerns.
        """

    @abstractmethod
    def store(self, connection: Connection, attempts: Sequence[Attempt]) -> int:
        """Write the answers of successful attempts; return how many rows changed."""

    @abstractmethod
    def ttl(self, attempt: Attempt, now: datetime) -> timedelta:
        """Return how long the answer of an attempt remains good."""

    def note(self, connection: Connection, attempts: Sequence[Attempt]) -> None:
        """Take note of all attempts, whatever their outcome, in the transaction of :meth:`store`."""

    def group(self, item: DueItem) -> Hashable:
        """Return the group of an item; items of different groups never share a unit."""
        return None

    def cancel(self) -> None:
        """End the requests that are under way, since the run is being stopped."""
        self.client.cancel()


class OneByOne(WorkList[Client]):
    """A work list whose source is asked about one item at a time."""

    @abstractmethod
    def ask_about(self, item: DueItem) -> Attempt:
        """Ask about an item. May raise any ServiceError; those about this item alone become its outcome."""

    def ask(self, unit: Sequence[DueItem]) -> Iterator[list[Attempt]]:
        """Ask about each item of a unit by itself."""
        for item in unit:
            yield [outcome_of(item, lambda item=item: self.ask_about(item))]


def outcome_of(item: DueItem, ask: Callable[[], Attempt]) -> Attempt:
    """Return the attempt that ``ask`` returns, or what its error means for this item; those about all items pass."""
    try:
        return ask()
    except ServicePaused:
        raise
    except NotFound as error:
        return Attempt(item, "not_found", detail=str(error))
    except (BadAnswer, RequestRejected) as error:
        return Attempt(item, "error", detail=str(error))
    except ServiceUnavailable as error:
        return Attempt(item, "error", detail=str(error), unreachable=True)
