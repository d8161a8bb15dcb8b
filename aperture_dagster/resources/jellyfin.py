"""Jellyfin 10.9 to 12, read.

Facts of the API that shaped this file: the only auth form that every version takes is ``Authorization: MediaBrowser
Token="…"``; ``minDateLastSavedForUser`` does not look at user data, so what is new comes from ``sortBy=DatePlayed``
with an early stop; an item marked as played by hand may have no date and sorts last; pages shift when items are added
or removed while they are read.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, date, datetime, timedelta
from typing import Any, TypeVar

from aperture_dagster.resources.errors import BadAnswer
from aperture_dagster.resources.media_server import (
    ItemState,
    Listing,
    MediaType,
    Page,
    ServerEpisode,
    ServerIdentity,
    ServerLibrary,
    ServerTitle,
    ServerUser,
)
from aperture_dagster.resources.transport import Transport, expect

Record = TypeVar("Record")

TITLE_FIELDS = "ProviderIds,Overview,Genres,Tags,Studios,DateCreated,OriginalTitle,Taglines,SortName,Path"
ITEM_TYPES: dict[MediaType, str] = {"movie": "Movie", "series": "Series"}
TICKS_PER_SECOND = 10_000_000
# Ticks are whole numbers of 64 bits; what is beyond is a mistake.
LARGEST = 2**63
# Clocks differ and plays are reported late, so what is new is read from a day before the newest that is known.
OVERLAP = timedelta(days=1)


class JellyfinServer:
    """A Jellyfin server over HTTP; implements ``MediaServer``.

    Args:
        transport: to the server's address, with its auth header.
        page_size: items asked for in one request.
    """

    def __init__(self, transport: Transport, *, page_size: int = 500) -> None:
        self._http = transport
        self._page_size = page_size

    @classmethod
    def connect(
        cls,
        url: str,
        api_key: str,
        *,
        page_size: int = 500,
        timeout_seconds: float = 60,
        attempts: int = 5,
        first_wait_seconds: float = 0.5,
    ) -> JellyfinServer:
        """A client for the server at ``url``. Only the token is sent: more would rewrite the key's device record."""
        transport = Transport(
            "Jellyfin",
            url,
            headers={"Authorization": f'MediaBrowser Token="{api_key}"'},
            timeout_seconds=timeout_seconds,
            attempts=attempts,
            first_wait_seconds=first_wait_seconds,
            connections=4,
            secrets=[api_key],
            setting="APERTURE_MEDIA_SERVER_API_KEY",
        )
        return cls(transport, page_size=page_size)

    @property
    def requests(self) -> int:
        """Requests sent so far."""
        return self._http.requests

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def identity(self) -> ServerIdentity:
        """Which server this is.

        Raises:
            ServiceRefused: the key is not accepted.
            BadAnswer: the address belongs to something else.
        """
        info = expect(self._http.get_json("/System/Info"), dict, "Jellyfin's /System/Info")
        server_id = info.get("Id")
        if not isinstance(server_id, str) or not server_id:
            raise BadAnswer("What answers at APERTURE_MEDIA_SERVER_URL is not a media server: /System/Info has no Id.")
        return ServerIdentity(
            server_id=server_id,
            name=str(info.get("ServerName") or ""),
            version=str(info.get("Version") or ""),
            product=str(info.get("ProductName") or "Jellyfin Server"),
        )

    def users(self) -> Page[ServerUser]:
        """Every user. Jellyfin knows no e-mail addresses."""
        answer = expect(self._http.get_json("/Users"), list, "Jellyfin's list of users")
        return read_page(answer, read_user)

    def libraries(self) -> list[ServerLibrary]:
        """Every library.

        Raises:
            BadAnswer: a library cannot be read; without it what is missing could not be told from what is gone.
        """
        answer = expect(self._http.get_json("/Library/VirtualFolders"), list, "Jellyfin's list of libraries")
        page = read_page(answer, read_library)
        if page.problems:
            raise BadAnswer(f"Jellyfin's list of libraries cannot be read: {page.problems[0]}")
        return page.records

    def titles(self, library: ServerLibrary, media_type: MediaType, listing: Listing) -> Iterator[list[ServerTitle]]:
        """All films or series of a library, oldest first, so that what is added meanwhile comes at the end."""
        query = {
            "parentId": library.library_id,
            "includeItemTypes": ITEM_TYPES[media_type],
            "fields": TITLE_FIELDS,
            "sortBy": "DateCreated,SortName",
            "enableUserData": "false",
        }
        return self._pages(query, read_title, listing)

    def episodes(self, library: ServerLibrary, listing: Listing) -> Iterator[list[ServerEpisode]]:
        """All episodes of a library that have a file."""
        query = {
            "parentId": library.library_id,
            "includeItemTypes": "Episode",
            "fields": "Path",
            "sortBy": "DateCreated,SortName",
            "enableUserData": "false",
        }
        return self._pages(query, read_episode, listing)

    def changed_states(self, user_id: str, since: datetime, listing: Listing) -> Iterator[list[ItemState]]:
        """What was played since then (newest first, with a day's overlap), and all that is in progress or favourite.

        What was *un*marked never shows here; the daily full comparison finds it.
        """
        query = self._state_query(user_id) | {
            "isPlayed": "true",
            "sortBy": "DatePlayed",
            "sortOrder": "Descending",
        }
        horizon = since - OVERLAP
        for page in self._pages(query, read_state, listing):
            yield page
            if page and all(state.last_played_at is None or state.last_played_at < horizon for state in page):
                break
        for filters in ("IsResumable", "IsFavorite"):
            yield from self._pages(self._state_query(user_id) | {"filters": filters}, read_state, Listing())

    def all_states(self, user_id: str, listing: Listing) -> Iterator[list[ItemState]]:
        """Everything that the user played, started or marked."""
        for extra in ({"isPlayed": "true"}, {"filters": "IsResumable"}, {"filters": "IsFavorite"}):
            part = Listing()
            yield from self._pages(self._state_query(user_id) | extra, read_state, part)
            listing.seen += part.seen
            listing.total = (listing.total or 0) + (part.total or 0)
            # One part's surplus must not hide what another lacks.
            listing.shifted |= not part.complete
            listing.problems += part.problems
            listing.unreadable_ids += part.unreadable_ids

    def _state_query(self, user_id: str) -> dict[str, str]:
        return {
            "userId": user_id,
            "includeItemTypes": "Movie,Episode",
            "sortBy": "DateCreated,SortName",
            "enableUserData": "true",
        }

    def _pages(
        self, query: Mapping[str, str], read: Callable[[dict[str, Any]], Record], listing: Listing
    ) -> Iterator[list[Record]]:
        """Walk a listing, dropping what came twice; a total that changes on the way marks it as shifted."""
        base = {
            "recursive": "true",
            "sortOrder": "Ascending",
            "excludeLocationTypes": "Virtual",
            "enableImages": "false",
            "enableTotalRecordCount": "true",
            **query,
        }
        # Hashes are enough to know an id again, and keep a listing of 200,000 small.
        seen: set[int] = set()
        start = 0
        while True:
            answer = self._http.get_json("/Items", {**base, "startIndex": start, "limit": self._page_size})
            answer = expect(answer, dict, "Jellyfin's /Items")
            items = expect(answer.get("Items"), list, "Jellyfin's /Items: Items")
            total = expect(answer.get("TotalRecordCount"), int, "Jellyfin's /Items: TotalRecordCount")
            if listing.total is not None and total != listing.total:
                listing.shifted = True
            listing.total = total
            page = read_page(items, read)
            fresh = []
            for record in page.records:
                identity = hash(record.server_item_id)  # pyright: ignore[reportAttributeAccessIssue]
                if identity not in seen:
                    seen.add(identity)
                    fresh.append(record)
            seen.update(map(hash, page.unreadable_ids))
            listing.seen = len(seen)
            listing.problems += page.problems
            listing.unreadable_ids += page.unreadable_ids
            yield fresh
            start += len(items)
            # More than there are in all: the total says nothing, and so nothing is missing for certain.
            listing.shifted |= start > total
            if not items or start >= total:
                return


def read_page(items: list[Any], read: Callable[[dict[str, Any]], Record]) -> Page[Record]:
    """Read every item that can be read; the others become problems that name them."""
    page: Page[Record] = Page(records=[])
    for item in items:
        try:
            page.records.append(read(expect(item, dict, "an item")))
        except BadAnswer as problem:
            identity = item.get("Id") if isinstance(item, dict) else None
            name = item.get("Name") if isinstance(item, dict) else None
            page.problems.append(f"{str(name)[:80]!r} (id {str(identity)[:80]}): {problem}")
            with contextlib.suppress(BadAnswer):
                page.unreadable_ids.append(_plain_id(identity))
    return page


def read_user(item: dict[str, Any]) -> ServerUser:
    """A user from the server's JSON. Raises BadAnswer without an id and a name."""
    policy = item.get("Policy") if isinstance(item.get("Policy"), dict) else {}
    assert isinstance(policy, dict)
    folders = policy.get("EnabledFolders")
    return ServerUser(
        user_id=_plain_id(item.get("Id")),
        name=_text(item, "Name", required=True) or "",
        is_administrator=policy.get("IsAdministrator") is True,
        is_hidden=policy.get("IsHidden") is True,
        is_disabled=policy.get("IsDisabled") is True,
        max_parental_rating=_integer(policy, "MaxParentalRating"),
        all_libraries=policy.get("EnableAllFolders", True) is not False,
        library_ids=tuple(sorted(_plain_id(folder) for folder in folders)) if isinstance(folders, list) else (),
        last_activity_at=_moment(item, "LastActivityDate"),
    )


def read_library(item: dict[str, Any]) -> ServerLibrary:
    """A library from the server's JSON."""
    return ServerLibrary(
        library_id=_plain_id(item.get("ItemId")),
        name=_text(item, "Name", required=True) or "",
        collection_type=_text(item, "CollectionType"),
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
    taglines = _texts(item, "Taglines")
    return ServerTitle(
        server_item_id=_plain_id(item.get("Id")),
        title=_text(item, "Name", required=True) or "",
        original_title=_text(item, "OriginalTitle"),
        sort_title=_text(item, "SortName"),
        year=_integer(item, "ProductionYear"),
        premiere_date=_day(item, "PremiereDate"),
        end_date=_day(item, "EndDate"),
        overview=_text(item, "Overview"),
        tagline=taglines[0] if taglines else None,
        genres=_texts(item, "Genres"),
        tags=_texts(item, "Tags"),
        studios=_names(item, "Studios"),
        official_rating=_text(item, "OfficialRating"),
        community_rating=_number(item, "CommunityRating"),
        critic_rating=_number(item, "CriticRating"),
        runtime_minutes=_minutes(item),
        status=_text(item, "Status"),
        path=_text(item, "Path"),
        tmdb_id=_provider_number(providers.get("tmdb")),
        imdb_id=_imdb_id(providers.get("imdb")),
        tvdb_id=_provider_number(providers.get("tvdb")),
        added_at=_moment(item, "DateCreated"),
    )


def read_episode(item: dict[str, Any]) -> ServerEpisode:
    """An episode from the server's JSON. Raises BadAnswer without an id and a series."""
    return ServerEpisode(
        server_item_id=_plain_id(item.get("Id")),
        series_item_id=_plain_id(item.get("SeriesId"), "SeriesId"),
        title=_text(item, "Name") or "",
        season=_integer(item, "ParentIndexNumber"),
        number=_integer(item, "IndexNumber"),
        number_end=_integer(item, "IndexNumberEnd"),
        air_date=_day(item, "PremiereDate"),
        runtime_minutes=_minutes(item),
        path=_text(item, "Path"),
    )


def read_state(item: dict[str, Any]) -> ItemState:
    """What the user did with an item. Raises BadAnswer without UserData."""
    data = expect(item.get("UserData"), dict, "UserData")
    position = _number(data, "PlaybackPositionTicks") or 0
    runtime = _number(item, "RunTimeTicks") or 0
    percentage = _number(data, "PlayedPercentage")
    share = percentage / 100 if percentage is not None else (position / runtime if runtime > 0 else 0.0)
    if position > 0 and share == 0:
        # Started, but the length is unknown.
        share = 0.5
    rating = _number(data, "Rating")
    return ItemState(
        server_item_id=_plain_id(item.get("Id")),
        is_episode=item.get("Type") == "Episode",
        played=data.get("Played") is True,
        play_count=max(_integer(data, "PlayCount") or 0, 0),
        position_share=min(max(share, 0.0), 1.0),
        last_played_at=_moment(data, "LastPlayedDate"),
        favorite=data.get("IsFavorite") is True,
        rating=min(max(rating, 0.0), 10.0) if rating is not None else None,
    )


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


def _plain_id(value: Any, name: str = "Id") -> str:
    text = expect(value, str, name).strip()
    if not text or not text.isprintable():
        raise BadAnswer(f"{name} is empty or no id")
    # The same id is given with and without dashes.
    return text.replace("-", "").lower() if len(text) == 36 else text


def _text(item: Mapping[str, Any], name: str, *, required: bool = False) -> str | None:
    value = item.get(name)
    if required and (not isinstance(value, str) or not value.strip()):
        raise BadAnswer(f"{name} is missing")
    if value is None:
        return None
    text = expect(value, str, name).strip()
    return text or None


def _texts(item: Mapping[str, Any], name: str) -> tuple[str, ...]:
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


def _integer(item: Mapping[str, Any], name: str) -> int | None:
    value = _number(item, name)
    if value is None:
        return None
    if abs(value) > 2**31 - 1:
        raise BadAnswer(f"{name} is out of range")
    return int(value)


def _minutes(item: Mapping[str, Any]) -> int | None:
    ticks = _number(item, "RunTimeTicks")
    return round(ticks / TICKS_PER_SECOND / 60) if ticks and 0 < ticks < 1e14 else None


def _moment(item: Mapping[str, Any], name: str) -> datetime | None:
    value = _text(item, name)
    return parse_moment(value) if value else None


def _day(item: Mapping[str, Any], name: str) -> date | None:
    moment = _moment(item, name)
    return moment.date() if moment else None


def _provider_number(value: str | None) -> int | None:
    text = (value or "").strip()
    return int(text) if text.isascii() and text.isdigit() and 0 < int(text) < 2**62 else None


def _imdb_id(value: str | None) -> str | None:
    text = (value or "").strip().lower()
    return text if text.startswith("tt") and text[2:].isdigit() else None
