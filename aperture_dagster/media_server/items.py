"""Parse what a media server's JSON says of users, libraries, titles, episodes, states and studios."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

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
from aperture_dagster.media_server.values import (
    day_of,
    moment_of,
    parse_id,
    parse_integer,
    parse_minutes,
    parse_names,
    parse_number,
    parse_text,
    parse_texts,
    require_text,
)

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
