"""Read listings page by page, although items may be added or removed while they are read."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from operator import attrgetter
from typing import Any, TypeVar

from aperture_dagster.http.errors import BadAnswer
from aperture_dagster.http.messages import expect
from aperture_dagster.media_server.records import Listing, ParsedPage
from aperture_dagster.media_server.values import parse_id

Record = TypeVar("Record")
# Makes a record from an item.
Parse = Callable[[dict[str, Any]], Record]

# As many ids in one query as every proxy accepts in a URL.
IDS_PER_QUERY = 50


class WrongType(BadAnswer):
    """An item of another type than requested, such as a collection in place of its films."""


def read_listing(
    fetch: Callable[[int, int], Any],
    parse: Parse[Record],
    listing: Listing,
    *,
    what: str,
    key: Callable[[Record], str] = attrgetter("server_item_id"),
) -> Iterator[list[Record]]:
    """Yield the pages of a listing without duplicates, and fill ``listing`` on the way.

    Each page but the first begins one item early. If that is not the last item of the previous page, or if the total
    changes, something was added or removed before this page and an item may have been missed: the listing is marked as
    shifted.

    Args:
        fetch: return the server's answer, given the first index and the number of items beyond a usual page.
        what: the listing's name, for messages.
        key: a record's id.

    Raises:
        BadAnswer: an answer is not a listing.
    """
    # Hashes recognise an id as well, and keep a listing of 200,000 items small.
    seen: set[int] = set()
    start = 0
    last: Any = None
    while True:
        overlap = 1 if start else 0
        answer = expect(fetch(start - overlap, overlap), dict, what)
        items = expect(answer.get("Items"), list, f"{what}: Items")
        total = expect(answer.get("TotalRecordCount"), int, f"{what}: TotalRecordCount")
        if listing.total is not None and total != listing.total:
            listing.shifted = True
        listing.total = total
        if overlap:
            if items and _is_same_item(items[0], last):
                del items[0]
            else:
                listing.shifted = True
        page = parse_page(items, parse)
        fresh = []
        for record in page.records:
            digest = hash(key(record))
            if digest not in seen:
                seen.add(digest)
                fresh.append(record)
        seen.update(map(hash, [*page.unreadable_ids, *page.virtual_ids]))
        # An item of another type hides the requested items behind it.
        listing.shifted |= page.foreign
        listing.seen = len(seen)
        listing.problems += page.problems
        listing.unreadable_ids += page.unreadable_ids
        yield fresh
        start += len(items)
        last = items[-1] if items else last
        # With more items than the total says, the total proves nothing.
        listing.shifted |= start > total
        if not items or start >= total:
            return


def read_listings(
    parts: Iterable[Callable[[Listing], Iterator[list[Record]]]], listing: Listing
) -> Iterator[list[Record]]:
    """Read several listings as one, which is complete if each of them is."""
    for read_part in parts:
        part = Listing()
        yield from read_part(part)
        listing.seen += part.seen
        listing.total = (listing.total or 0) + (part.total or 0)
        # A surplus in one part must not hide a gap in another.
        listing.shifted |= not part.complete
        # An item may be in several parts.
        listing.problems = list(dict.fromkeys([*listing.problems, *part.problems]))
        listing.unreadable_ids += part.unreadable_ids


def parse_page(items: list[Any], parse: Parse[Record]) -> ParsedPage[Record]:
    """Parse all items. Those that cannot be parsed become problems; virtual ones are left out."""
    page: ParsedPage[Record] = ParsedPage(records=[])
    for item in items:
        try:
            if expect(item, dict, "an item").get("LocationType") == "Virtual":
                page.virtual_ids.append(parse_id(item.get("Id")))
            else:
                page.records.append(parse(item))
        except BadAnswer as problem:
            page.foreign |= isinstance(problem, WrongType)
            item_id, name = (item.get("Id"), item.get("Name")) if isinstance(item, dict) else (None, None)
            page.problems.append(f"{str(name)[:80]!r} (id {str(item_id)[:80]}): {problem}")
            with contextlib.suppress(BadAnswer):
                page.unreadable_ids.append(parse_id(item_id))
    return page


def parse_all(answer: Any, parse: Parse[Record], what: str) -> list[Record]:
    """Parse a list completely, or raise BadAnswer, since what is missing from it would be taken for deleted."""
    page = parse_page(expect(answer, list, what), parse)
    if page.problems:
        raise BadAnswer(f"{what} cannot be parsed: {page.problems[0]}")
    return page.records


def only_types(item_types: str, parse: Parse[Record]) -> Parse[Record]:
    """Wrap ``parse`` so that it raises WrongType for items of other types than these (comma-separated)."""
    accepted = item_types.split(",")

    def parse_typed(item: dict[str, Any]) -> Record:
        if item.get("Type") not in accepted:
            raise WrongType(f"is of type {str(item.get('Type'))[:40]}, where {' or '.join(accepted)} was requested")
        return parse(item)

    return parse_typed


def id_batches(item_ids: Sequence[str]) -> Iterator[str]:
    """Yield ids as query values, a batch at a time."""
    for start in range(0, len(item_ids), IDS_PER_QUERY):
        yield ",".join(item_ids[start : start + IDS_PER_QUERY])


def _is_same_item(one: Any, other: Any) -> bool:
    if isinstance(one, dict) and isinstance(other, dict) and one.get("Id") is not None:
        return one.get("Id") == other.get("Id")
    return one == other
