"""How to work through the list of a source, and what became of each item."""

from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

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
from aperture_dagster.worklist.quota import QuotaLedger
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


@dataclass(slots=True, kw_only=True)
class WorkList:
    """How to work through the list of a source.

    Args:
        ask: asks about one unit (items of one group) and yields attempts as they are known. May raise any
            ServiceError; the engine decides which items it concerns.
        store: writes the answers of successful attempts; returns how many rows changed.
        ttl: how long the answer of an attempt remains good.
        cancel: ends the requests that are under way when the run is stopped.
        note: called with all attempts, whatever their outcome, in the transaction of ``store``.
        language: the one in which it is asked, if answers differ by language; those in another one are due.
        quota: the source's requests per day, if they are limited.
        unit_size: current number of items in a unit; None: one, for sources that are not asked in batches.
        group: items of different groups never share a unit.
        what: what the items are called in the log.
        failures_until_down: after so many unreachable units in a row the service counts as down.
    """

    source: Source
    ask: Callable[[Sequence[DueItem]], Iterator[list[Attempt]]]
    store: Callable[[Connection, Sequence[Attempt]], int]
    ttl: Callable[[Attempt, datetime], timedelta]
    cancel: Callable[[], None]
    language: str | None = None
    quota: QuotaLedger | None = None
    note: Callable[[Connection, Sequence[Attempt]], None] = lambda connection, attempts: None
    concurrency: int = 1
    unit_size: Callable[[], int] | None = None
    group: Callable[[DueItem], Hashable] = lambda item: None
    what: str = "titles"
    failures_until_down: int = FAILURES_UNTIL_DOWN


def one_by_one(ask: Callable[[DueItem], Attempt]) -> Callable[[Sequence[DueItem]], Iterator[list[Attempt]]]:
    """Ask about each item of a unit by itself."""

    def ask_unit(unit: Sequence[DueItem]) -> Iterator[list[Attempt]]:
        for item in unit:
            yield [outcome_of(item, lambda item=item: ask(item))]

    return ask_unit


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
