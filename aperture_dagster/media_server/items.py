"""Parse items, users and user data of both servers: Emby and Jellyfin have a common origin and much the same JSON."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, date, datetime
from typing import Any

from aperture_dagster.http.errors import BadAnswer
from aperture_dagster.http.messages import as_object, expect
from aperture_dagster.media_server.records import (
    ItemState,
    MediaType,
    ServerEpisode,
    ServerLibrary,
    ServerStudio,
    ServerTitle,
    ServerUser,
)

# Parse single values of a media server's JSON, where nearly everything may be null or absent.
#
# Functions return None (or an empty tuple) for an absent value, and raise BadAnswer for a value of another type.


TICKS_PER_MINUTE = 600_000_000
# Longer than any recording.
LONGEST_TICKS = 1e14
# Beyond it, JSON has no exact numbers; no number of a server is that large.
LARGEST_NUMBER = 2**53
LARGEST_INTEGER = 2**31 - 1
GUID = re.compile(r"^[0-9A-Fa-f]{8}(-?)(?:[0-9A-Fa-f]{4}\1){3}[0-9A-Fa-f]{12}$")
"""An id as Jellyfin and .NET write it: 32 digits in either case, or with dashes."""
_NORMAL_ID = re.compile(r"[0-9a-f]{32}").fullmatch


def parse_id(value: Any, name: str = "Id") -> str:
    """Normalise an id, which servers write with and without dashes, in upper and lower case."""
    if type(value) is str and _NORMAL_ID(value):
        return value
    text = expect(value, str, name).strip()
    if not text or not text.isprintable():
        raise BadAnswer(f"{name} is empty or not an id")
    return GUID.sub(lambda guid: guid[0].replace("-", "").lower(), text)


def parse_text(item: Mapping[str, Any], name: str) -> str | None:
    """Strip a text; an empty one is None."""
    value = item.get(name)
    if value is None:
        return None
    return (value if type(value) is str else expect(value, str, name)).strip() or None


def require_text(item: Mapping[str, Any], name: str) -> str:
    """Strip a text; raise BadAnswer if there is none."""
    value = item.get(name)
    if not isinstance(value, str) or not (text := value.strip()):
        raise BadAnswer(f"{name} is missing")
    return text


def parse_texts(item: Mapping[str, Any], name: str) -> tuple[str, ...]:
    """Strip the texts of a list; skip empty ones."""
    value = item.get(name)
    if value is None:
        return ()
    texts = [text.strip() for text in expect(value, list, name) if isinstance(text, str)]
    return tuple(filter(None, texts))


def parse_names(item: Mapping[str, Any], name: str) -> tuple[str, ...]:
    """Return the names of a list of objects."""
    value = item.get(name)
    if value is None:
        return ()
    names = [entry.get("Name") for entry in expect(value, list, name) if isinstance(entry, dict)]
    return tuple([entry for entry in names if isinstance(entry, str) and entry])


def parse_number(item: Mapping[str, Any], name: str) -> float | None:
    """Return a number; NaN is None."""
    value = item.get(name)
    if value is None:
        return None
    # Also False for True, which is no number in JSON.
    number = value if type(value) is int or type(value) is float else expect(value, (int, float), name)
    if abs(number) > LARGEST_NUMBER:
        raise BadAnswer(f"{name} is out of range")
    return float(number) if number == number else None


def parse_integer(item: Mapping[str, Any], name: str) -> int | None:
    """Return a whole number."""
    value = item.get(name)
    if value is None:
        return None
    if type(value) is not int:
        value = parse_number(item, name)
        if value is None:
            return None
    if abs(value) > LARGEST_INTEGER:
        raise BadAnswer(f"{name} is out of range")
    return int(value)


def parse_minutes(item: Mapping[str, Any]) -> int | None:
    """Return an item's runtime."""
    ticks = parse_number(item, "RunTimeTicks")
    return round(ticks / TICKS_PER_MINUTE) if ticks and 0 < ticks < LONGEST_TICKS else None


def parse_moment(text: str) -> datetime | None:
    """Parse an ISO date as UTC, which is also assumed without a zone; None for an unusable one."""
    try:
        moment = datetime.fromisoformat(text.strip())
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=UTC)
        elif moment.tzinfo is not UTC:
            moment = moment.astimezone(UTC)
    except (ValueError, OverflowError):
        return None
    # .NET's "no date" is the first day of year 1.
    return moment if moment.year > 1900 else None


def moment_of(item: Mapping[str, Any], name: str) -> datetime | None:
    """Parse a date of an item; see :func:`parse_moment`."""
    text = parse_text(item, name)
    return parse_moment(text) if text else None


def day_of(item: Mapping[str, Any], name: str) -> date | None:
    """Parse the day of a date of an item."""
    moment = moment_of(item, name)
    return moment.date() if moment else None


ITEM_TYPES: dict[MediaType, str] = {"movie": "Movie", "series": "Series"}


def parse_user(item: dict[str, Any]) -> ServerUser:
    """Parse a user. Raises BadAnswer without an id and a name."""
    policy = policy_of(item)
    folders = policy.get("EnabledFolders")
    return ServerUser(
        user_id=parse_id(item.get("Id")),
        name=require_text(item, "Name"),
        is_administrator=policy.get("IsAdministrator") is True,
        is_hidden=policy.get("IsHidden") is True,
        is_disabled=policy.get("IsDisabled") is True,
        max_parental_rating=parse_integer(policy, "MaxParentalRating"),
        all_libraries=policy.get("EnableAllFolders", True) is not False,
        library_ids=tuple(sorted(parse_id(folder) for folder in folders)) if isinstance(folders, list) else (),
        blocked_tags=parse_texts(policy, "BlockedTags"),
        allowed_tags=parse_texts(policy, "AllowedTags"),
        last_activity_at=moment_of(item, "LastActivityDate"),
    )


def policy_of(item: Mapping[str, Any]) -> dict[str, Any]:
    """Return a user's policy, empty if there is none."""
    return as_object(item.get("Policy"))


def parse_library(item: dict[str, Any]) -> ServerLibrary:
    """Parse a library, which has no id while the server has not assigned one."""
    library_id = item.get("ItemId", item.get("Id"))
    return ServerLibrary(
        library_id=parse_id(library_id) if library_id is not None else "",
        name=require_text(item, "Name"),
        collection_type=parse_text(item, "CollectionType"),
        locations=parse_texts(item, "Locations"),
    )


def parse_title(item: dict[str, Any]) -> ServerTitle:
    """Parse a film or series. Raises BadAnswer without an id and a name."""
    providers = {
        str(name).lower(): value.strip().lower()
        for name, value in as_object(item.get("ProviderIds")).items()
        if isinstance(value, str)
    }
    imdb_id = providers.get("imdb", "")
    taglines = parse_texts(item, "Taglines")
    return ServerTitle(
        server_item_id=parse_id(item.get("Id")),
        title=require_text(item, "Name"),
        original_title=parse_text(item, "OriginalTitle"),
        sort_title=parse_text(item, "SortName"),
        year=parse_integer(item, "ProductionYear"),
        premiere_date=day_of(item, "PremiereDate"),
        overview=parse_text(item, "Overview"),
        tagline=taglines[0] if taglines else None,
        genres=parse_texts(item, "Genres"),
        # Emby may give tags in the long form only.
        tags=parse_texts(item, "Tags") or parse_names(item, "TagItems"),
        studios=parse_names(item, "Studios"),
        # For parental limits, a rating that an administrator set replaces that of the title.
        official_rating=parse_text(item, "CustomRating") or parse_text(item, "OfficialRating"),
        community_rating=parse_number(item, "CommunityRating"),
        critic_rating=parse_number(item, "CriticRating"),
        runtime_minutes=parse_minutes(item),
        status=parse_text(item, "Status"),
        path=parse_text(item, "Path"),
        tmdb_id=_provider_number(providers.get("tmdb", "")),
        imdb_id=imdb_id if imdb_id.startswith("tt") and imdb_id[2:].isdigit() else None,
        tvdb_id=_provider_number(providers.get("tvdb", "")),
        added_at=moment_of(item, "DateCreated"),
        picture_tag=parse_text(as_object(item.get("ImageTags")), "Primary"),
    )


def _provider_number(text: str) -> int | None:
    return number if text.isascii() and text.isdigit() and 0 < (number := int(text)) < 2**62 else None


def parse_episode(item: dict[str, Any]) -> ServerEpisode:
    """Parse an episode. Raises BadAnswer without an id and a series."""
    return ServerEpisode(
        server_item_id=parse_id(item.get("Id")),
        series_item_id=parse_id(item.get("SeriesId"), "SeriesId"),
        title=parse_text(item, "Name") or "",
        season=parse_integer(item, "ParentIndexNumber"),
        number=parse_integer(item, "IndexNumber"),
        number_end=parse_integer(item, "IndexNumberEnd"),
        air_date=day_of(item, "PremiereDate"),
        runtime_minutes=parse_minutes(item),
        path=parse_text(item, "Path"),
    )


def parse_state(item: dict[str, Any]) -> ItemState:
    """Parse a user's state of an item. Raises BadAnswer without UserData.

    Of a series, only favourite and rating count: its plays are those of its episodes.
    """
    data = expect(item.get("UserData"), dict, "UserData")
    rating = parse_number(data, "Rating")
    if rating is not None:
        rating = min(max(rating, 0.0), 10.0)
    server_item_id, favorite = parse_id(item.get("Id")), data.get("IsFavorite") is True
    item_type, name, path = item.get("Type"), parse_text(item, "Name"), parse_text(item, "Path")
    if item_type == "Series":
        return ItemState(server_item_id, favorite=favorite, rating=rating, name=name, path=path)
    position = parse_number(data, "PlaybackPositionTicks") or 0
    runtime = parse_number(item, "RunTimeTicks") or 0
    percentage = parse_number(data, "PlayedPercentage")
    share = percentage / 100 if percentage is not None else (position / runtime if runtime > 0 else 0.0)
    played, play_count = data.get("Played") is True, max(parse_integer(data, "PlayCount") or 0, 0)
    last_played_at = moment_of(data, "LastPlayedDate")
    # If another version of a film was played, Jellyfin 12 returns nothing but the date of that play.
    is_other_version = last_played_at is not None and not (played or play_count or position)
    if share == 0 and (position > 0 or is_other_version):
        # Started; how far is unknown.
        share = 0.5
    is_episode = item_type == "Episode"
    return ItemState(
        server_item_id,
        favorite=favorite,
        rating=rating,
        name=name,
        played=played,
        play_count=play_count,
        position_share=min(max(share, 0.0), 1.0),
        last_played_at=last_played_at,
        has_runtime=runtime > 0,
        is_episode=is_episode,
        series_name=parse_text(item, "SeriesName") if is_episode else None,
        season=parse_integer(item, "ParentIndexNumber") if is_episode else None,
        number=parse_integer(item, "IndexNumber") if is_episode else None,
        path=path,
        position_ticks=max(int(position), 0),
    )


def parse_studio(item: Any) -> ServerStudio | None:
    """Parse a studio; None without an id and a name."""
    studio = as_object(item)
    server_item_id, name = studio.get("Id"), studio.get("Name")
    if not isinstance(server_item_id, str) or not server_item_id or not isinstance(name, str):
        return None
    return ServerStudio(server_item_id, name, has_picture=bool(as_object(studio.get("ImageTags")).get("Primary")))


def parse_tags(item: Mapping[str, Any]) -> tuple[str, tuple[str, ...]]:
    """Return an item's id and its tags."""
    return parse_id(item.get("Id")), parse_texts(item, "Tags")


def parse_versions(item: Mapping[str, Any]) -> tuple[str, tuple[str, ...]]:
    """Return an item's id and the ids of its other versions, which are its media sources."""
    sources = expect(item.get("MediaSources") or [], list, "MediaSources")
    ids = [source.get("Id") for source in sources if isinstance(source, dict)]
    own = parse_id(item.get("Id"))
    return own, tuple(sorted({parse_id(one) for one in ids if isinstance(one, str) and one.strip()} - {own}))
