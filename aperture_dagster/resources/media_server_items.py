"""What Jellyfin and Emby have in common: items as JSON, and listings that come a page at a time.

Both grew from one program, and nearly everything may be null or absent. An item that cannot be read becomes a problem
that names it; pages shift when items are added or removed while they are read, so what came twice is dropped and the
total is watched.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from operator import attrgetter
from typing import Any, TypeVar

from aperture_dagster.resources.errors import BadAnswer
from aperture_dagster.resources.media_server import (
    ItemState,
    Listing,
    MediaType,
    Page,
    ServerEpisode,
    ServerTitle,
    ServerUser,
)
from aperture_dagster.resources.transport import expect

Record = TypeVar("Record")

ITEM_TYPES: dict[MediaType, str] = {"movie": "Movie", "series": "Series"}
# Reading user data costs a server more than all else of an item.
STATES_AT_ONCE = 200
TICKS_PER_SECOND = 10_000_000
# Ticks are whole numbers of 64 bits; what is beyond is a mistake.
LARGEST = 2**63
# Clocks differ and plays are reported late, so what is new is read from a day before the newest that is known.
OVERLAP = timedelta(days=1)
# Ids that are asked for at once: as many as every proxy takes in an address.
IDS_AT_ONCE = 50


def walk(
    fetch: Callable[[int, int], Any],
    read: Callable[[dict[str, Any]], Record],
    listing: Listing,
    *,
    what: str,
    identity: Callable[[Record], str] = attrgetter("server_item_id"),
) -> Iterator[list[Record]]:
    """Walk a listing, dropping what came twice.

    It is marked as shifted when its total changes on the way, or when a page does not begin with the last item of the
    one before, which is asked for again: something came or went before it, and what moved over the edge was not seen.

    Args:
        fetch: gets the server's answer from a place on, with so many items more than usual.
        read: makes a record of an item.
        listing: filled on the way.
        what: the listing's name, for messages.
        identity: a record's id.

    Raises:
        BadAnswer: an answer is no listing.
    """
    # Hashes are enough to know an id again, and keep a listing of 200,000 small.
    seen: set[int] = set()
    start = 0
    last: Any = None
    while True:
        again = 1 if start else 0
        answer = expect(fetch(start - again, again), dict, what)
        items = expect(answer.get("Items"), list, f"{what}: Items")
        total = expect(answer.get("TotalRecordCount"), int, f"{what}: TotalRecordCount")
        if listing.total is not None and total != listing.total:
            listing.shifted = True
        listing.total = total
        if again:
            if items and _same_item(items[0], last):
                del items[0]
            else:
                listing.shifted = True
        page = read_page(items, read)
        fresh = []
        for record in page.records:
            key = hash(identity(record))
            if key not in seen:
                seen.add(key)
                fresh.append(record)
        seen.update(map(hash, [*page.unreadable_ids, *page.virtual_ids]))
        # Something took the place of what was asked for, which is hidden behind it.
        listing.shifted |= page.foreign
        listing.seen = len(seen)
        listing.problems += page.problems
        listing.unreadable_ids += page.unreadable_ids
        yield fresh
        start += len(items)
        last = items[-1] if items else last
        # More than there are in all: the total says nothing, and so nothing is missing for certain.
        listing.shifted |= start > total
        if not items or start >= total:
            return


def _same_item(one: Any, other: Any) -> bool:
    if isinstance(one, dict) and isinstance(other, dict) and one.get("Id") is not None:
        return one.get("Id") == other.get("Id")
    return one == other


def walk_parts(
    parts: Iterable[Callable[[Listing], Iterator[list[Record]]]], listing: Listing
) -> Iterator[list[Record]]:
    """Walk several listings that together are one; it is complete when each of them is."""
    for walk_part in parts:
        part = Listing()
        yield from walk_part(part)
        listing.seen += part.seen
        listing.total = (listing.total or 0) + (part.total or 0)
        # One part's surplus must not hide what another lacks.
        listing.shifted |= not part.complete
        # One item may be in several of them.
        listing.problems = list(dict.fromkeys([*listing.problems, *part.problems]))
        listing.unreadable_ids += part.unreadable_ids


def batches(item_ids: Sequence[str]) -> Iterator[str]:
    """Ids as a query names them, a few at a time."""
    for start in range(0, len(item_ids), IDS_AT_ONCE):
        yield ",".join(item_ids[start : start + IDS_AT_ONCE])


class WrongType(BadAnswer):
    """An item of another type than was asked for, such as a collection in place of its films."""


def of_type(item_types: str, read: Callable[[dict[str, Any]], Record]) -> Callable[[dict[str, Any]], Record]:
    """Make a reader that takes items of these types (joined with commas) only. It raises WrongType for others."""
    accepted = item_types.split(",")

    def read_typed(item: dict[str, Any]) -> Record:
        if item.get("Type") not in accepted:
            raise WrongType(f"is of type {str(item.get('Type'))[:40]}, where {' or '.join(accepted)} was asked for")
        return read(item)

    return read_typed


def read_page(items: list[Any], read: Callable[[dict[str, Any]], Record]) -> Page[Record]:
    """Read every item that can be read; the others become problems that name them. Virtual ones are left out."""
    page: Page[Record] = Page(records=[])
    for item in items:
        try:
            if expect(item, dict, "an item").get("LocationType") == "Virtual":
                page.virtual_ids.append(plain_id(item.get("Id")))
            else:
                page.records.append(read(item))
        except BadAnswer as problem:
            page.foreign |= isinstance(problem, WrongType)
            identity = item.get("Id") if isinstance(item, dict) else None
            name = item.get("Name") if isinstance(item, dict) else None
            page.problems.append(f"{str(name)[:80]!r} (id {str(identity)[:80]}): {problem}")
            with contextlib.suppress(BadAnswer):
                page.unreadable_ids.append(plain_id(identity))
    return page


def read_user(item: dict[str, Any]) -> ServerUser:
    """A user from the server's JSON. Raises BadAnswer without an id and a name."""
    policy = item.get("Policy") if isinstance(item.get("Policy"), dict) else {}
    assert isinstance(policy, dict)
    folders = policy.get("EnabledFolders")
    return ServerUser(
        user_id=plain_id(item.get("Id")),
        name=text_of(item, "Name", required=True) or "",
        is_administrator=policy.get("IsAdministrator") is True,
        is_hidden=policy.get("IsHidden") is True,
        is_disabled=policy.get("IsDisabled") is True,
        max_parental_rating=integer_of(policy, "MaxParentalRating"),
        all_libraries=policy.get("EnableAllFolders", True) is not False,
        library_ids=tuple(sorted(plain_id(folder) for folder in folders)) if isinstance(folders, list) else (),
        blocked_tags=texts_of(policy, "BlockedTags"),
        allowed_tags=texts_of(policy, "AllowedTags"),
        last_activity_at=moment_of(item, "LastActivityDate"),
    )


def read_title(item: dict[str, Any]) -> ServerTitle:
    """A film or series from the server's JSON. Raises BadAnswer without an id and a name."""
    providers = (
        {
            str(name).lower(): value
            for name, value in (item.get("ProviderIds") or {}).items()
            if isinstance(value, str) and value.strip()
        }
        if isinstance(item.get("ProviderIds"), dict)
        else {}
    )
    taglines = texts_of(item, "Taglines")
    return ServerTitle(
        server_item_id=plain_id(item.get("Id")),
        title=text_of(item, "Name", required=True) or "",
        original_title=text_of(item, "OriginalTitle"),
        sort_title=text_of(item, "SortName"),
        year=integer_of(item, "ProductionYear"),
        premiere_date=_day(item, "PremiereDate"),
        end_date=_day(item, "EndDate"),
        overview=text_of(item, "Overview"),
        tagline=taglines[0] if taglines else None,
        genres=texts_of(item, "Genres"),
        # Emby may give tags in the long form alone.
        tags=texts_of(item, "Tags") or _names(item, "TagItems"),
        studios=_names(item, "Studios"),
        official_rating=text_of(item, "OfficialRating"),
        community_rating=_number(item, "CommunityRating"),
        critic_rating=_number(item, "CriticRating"),
        runtime_minutes=_minutes(item),
        status=text_of(item, "Status"),
        path=text_of(item, "Path"),
        tmdb_id=_provider_number(providers.get("tmdb")),
        imdb_id=_imdb_id(providers.get("imdb")),
        tvdb_id=_provider_number(providers.get("tvdb")),
        added_at=moment_of(item, "DateCreated"),
    )


def read_episode(item: dict[str, Any]) -> ServerEpisode:
    """An episode from the server's JSON. Raises BadAnswer without an id and a series."""
    return ServerEpisode(
        server_item_id=plain_id(item.get("Id")),
        series_item_id=plain_id(item.get("SeriesId"), "SeriesId"),
        title=text_of(item, "Name") or "",
        season=integer_of(item, "ParentIndexNumber"),
        number=integer_of(item, "IndexNumber"),
        number_end=integer_of(item, "IndexNumberEnd"),
        air_date=_day(item, "PremiereDate"),
        runtime_minutes=_minutes(item),
        path=text_of(item, "Path"),
    )


def read_state(item: dict[str, Any]) -> ItemState:
    """What the user did with an item. Raises BadAnswer without UserData.

    Of a series only what was said of it as a whole counts (favourite, rating): its plays are its episodes' own.
    """
    data = expect(item.get("UserData"), dict, "UserData")
    rating = _number(data, "Rating")
    if rating is not None:
        rating = min(max(rating, 0.0), 10.0)
    if item.get("Type") == "Series":
        return ItemState(
            server_item_id=plain_id(item.get("Id")),
            is_episode=False,
            played=False,
            play_count=0,
            position_share=0.0,
            last_played_at=None,
            favorite=data.get("IsFavorite") is True,
            rating=rating,
            name=text_of(item, "Name"),
        )
    position = _number(data, "PlaybackPositionTicks") or 0
    runtime = _number(item, "RunTimeTicks") or 0
    percentage = _number(data, "PlayedPercentage")
    share = percentage / 100 if percentage is not None else (position / runtime if runtime > 0 else 0.0)
    played, play_count = data.get("Played") is True, max(integer_of(data, "PlayCount") or 0, 0)
    last_played_at = moment_of(data, "LastPlayedDate")
    # When another version of a film was played, Jellyfin 12 shows only the date of that play.
    is_elsewhere = last_played_at is not None and not (played or play_count or position)
    if share == 0 and (position > 0 or is_elsewhere):
        # Started, but how far is unknown.
        share = 0.5
    is_episode = item.get("Type") == "Episode"
    return ItemState(
        server_item_id=plain_id(item.get("Id")),
        is_episode=is_episode,
        played=played,
        play_count=play_count,
        position_share=min(max(share, 0.0), 1.0),
        last_played_at=last_played_at,
        favorite=data.get("IsFavorite") is True,
        rating=rating,
        name=text_of(item, "Name"),
        series_name=text_of(item, "SeriesName") if is_episode else None,
        season=integer_of(item, "ParentIndexNumber") if is_episode else None,
        number=integer_of(item, "IndexNumber") if is_episode else None,
    )


def that_say_something(pages: Iterable[list[ItemState]]) -> Iterator[list[ItemState]]:
    """Leave out states in which nothing was done: a listing of all series holds many of them."""
    for page in pages:
        yield [
            state
            for state in page
            if state.played or state.play_count or state.position_share or state.favorite or state.rating is not None
        ]


def read_tags(item: Mapping[str, Any]) -> tuple[str, tuple[str, ...]]:
    """An item's id and its tags."""
    return plain_id(item.get("Id")), texts_of(item, "Tags")


def read_versions(item: Mapping[str, Any]) -> tuple[str, tuple[str, ...]]:
    """An item's id and those of its other versions: its media sources are the versions, by their items' ids."""
    sources = expect(item.get("MediaSources") or [], list, "MediaSources")
    ids = [source.get("Id") for source in sources if isinstance(source, dict)]
    own = plain_id(item.get("Id"))
    return own, tuple(sorted({plain_id(one) for one in ids if isinstance(one, str) and one.strip()} - {own}))


def parse_moment(value: str) -> datetime | None:
    """A server's ISO date (seven fractional digits, with or without zone) as UTC, or None if it is none."""
    text = value.strip().removesuffix("Z")
    head, dot, fraction = text.partition(".")
    zone = ""
    for sign in "+-":
        digits, found, rest = fraction.partition(sign)
        if found:
            fraction, zone = digits, sign + rest
    try:
        moment = datetime.fromisoformat(head + (f".{fraction[:6]:0<6}" if dot else "") + zone)
        moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, OverflowError):
        return None
    # .NET's "no date" is the first day of year 1.
    return moment if moment.year > 1900 else None


def plain_id(value: Any, name: str = "Id") -> str:
    """An id in the one form that is compared. Raises BadAnswer when it is none."""
    text = expect(value, str, name).strip()
    if not text or not text.isprintable():
        raise BadAnswer(f"{name} is empty or no id")
    # The same id is given with and without dashes.
    return text.replace("-", "").lower() if len(text) == 36 else text


def text_of(item: Mapping[str, Any], name: str, *, required: bool = False) -> str | None:
    """A text without blanks around it, None when absent or empty. Raises BadAnswer for anything else."""
    value = item.get(name)
    if required and (not isinstance(value, str) or not value.strip()):
        raise BadAnswer(f"{name} is missing")
    if value is None:
        return None
    text = expect(value, str, name).strip()
    return text or None


def texts_of(item: Mapping[str, Any], name: str) -> tuple[str, ...]:
    """Texts without blanks around them, none when absent. Raises BadAnswer for anything but a list."""
    value = item.get(name)
    if value is None:
        return ()
    return tuple(text.strip() for text in expect(value, list, name) if isinstance(text, str) and text.strip())


def _names(item: Mapping[str, Any], name: str) -> tuple[str, ...]:
    value = item.get(name)
    if value is None:
        return ()
    entries = [entry.get("Name") for entry in expect(value, list, name) if isinstance(entry, dict)]
    return tuple(entry for entry in entries if isinstance(entry, str) and entry)


def _number(item: Mapping[str, Any], name: str) -> float | None:
    value = item.get(name)
    if value is None:
        return None
    number = expect(value, (int, float), name)
    if abs(number) > LARGEST:
        raise BadAnswer(f"{name} is out of range")
    return float(number) if number == number else None


def integer_of(item: Mapping[str, Any], name: str) -> int | None:
    """A whole number, None when absent. Raises BadAnswer for anything else."""
    value = _number(item, name)
    if value is None:
        return None
    if abs(value) > 2**31 - 1:
        raise BadAnswer(f"{name} is out of range")
    return int(value)


def _minutes(item: Mapping[str, Any]) -> int | None:
    ticks = _number(item, "RunTimeTicks")
    return round(ticks / TICKS_PER_SECOND / 60) if ticks and 0 < ticks < 1e14 else None


def moment_of(item: Mapping[str, Any], name: str) -> datetime | None:
    """A date in UTC, None when absent or unusable. Raises BadAnswer when it is no text."""
    value = text_of(item, name)
    return parse_moment(value) if value else None


def _day(item: Mapping[str, Any], name: str) -> date | None:
    moment = moment_of(item, name)
    return moment.date() if moment else None


def _provider_number(value: str | None) -> int | None:
    text = (value or "").strip()
    return int(text) if text.isascii() and text.isdigit() and 0 < int(text) < 2**62 else None


def _imdb_id(value: str | None) -> str | None:
    text = (value or "").strip().lower()
    return text if text.startswith("tt") and text[2:].isdigit() else None
