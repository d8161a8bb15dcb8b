"""Settings of what is published on the media server."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, NonNegativeInt, PositiveFloat, PositiveInt

from aperture_dagster.settings.types import SettingsGroup, Texts


def _check_template(value: str) -> str:
    """Accept a name in which only the placeholders of a template appear in braces."""
    try:
        name = value.format(username="name", type="type")
    except (LookupError, ValueError, AttributeError):
        raise ValueError("expected a name with no other placeholders than {username} and {type}") from None
    if not name.strip() or not name.isprintable():
        raise ValueError("expected a name")
    return value.strip()


def _check_own_name(value: str) -> str:
    if "{username}" not in value:
        raise ValueError("expected {username} in the name, so that two users do not share a library")
    return value


def _check_typed_name(value: str) -> str:
    if "{type}" not in value:
        raise ValueError("expected {type} in the name, so that films and series do not share a library")
    return value


Template = Annotated[str, AfterValidator(_check_template)]
OwnName = Annotated[Template, AfterValidator(_check_own_name)]
TypedName = Annotated[Template, AfterValidator(_check_typed_name)]


class PublishingSettings(SettingsGroup):
    """Publishing on the media server."""

    publish: bool = False
    """Whether anything is published on the media server: libraries, collections, playlists."""
    publish_root: Path | None = None
    """Folder for published libraries, as this machine sees it. The media server must see it, too, and it must not be
    inside one of its libraries. A marker file shows that it is the right one. Libraries move when the setting changes.
    """
    path_map: Texts = Field(default_factory=dict)
    """Folders that the media server sees under another path, as a JSON object of this machine's paths and the
    server's: `{"/volume1/media": "/media"}`.
    """
    publish_as: Literal["auto", "symlink", "hardlink", "strm"] = "auto"
    """How published titles refer to the originals. auto: symlinks on Jellyfin, STRM files on Emby."""
    publish_provider_ids: Literal["auto", "all", "none"] = "auto"
    """Whether published copies carry the ids of TMDb, IMDb and TVDb, by which some servers share what was watched.
    auto: none on Jellyfin 10.11 and newer, else all.
    """
    publish_strict_access: bool = False
    """Whether users who may see all libraries get an explicit list without other users' libraries. Default: the
    libraries are hidden in their views.
    """
    publish_wait_seconds: PositiveFloat = 900
    """How long publishing waits for a scan of the media server that makes no progress. While it makes progress, there
    is no limit.
    """
    publish_poll_seconds: PositiveFloat = 1
    """Interval at which the progress of a scan is read."""
    rank_badges: bool = True
    """Whether posters of Top Picks show the rank, since some clients sort in an order of their own."""
    mark_originals_played: bool = False
    """Whether finishing a published copy also marks the original as played, where the server does not share that."""
    recommendation_libraries: bool = True
    """Whether each user's recommendations are published as libraries."""
    recommendation_collections: bool = False
    """Whether they are published as collections, whose names other users can see."""
    recommendation_playlists: bool = False
    """Whether they are published as playlists."""
    recommendation_name: Annotated[OwnName, AfterValidator(_check_typed_name)] = "{username}'s AI Picks - {type}"
    """Name of these libraries, collections and playlists."""
    publish_grouped_collections: bool = False
    """Whether collections are published even if the media server shows them to users in place of their members."""
    top_picks_libraries: bool = True
    """Whether Top Picks are published as libraries."""
    top_picks_collections: bool = False
    """Whether Top Picks are published as collections of the originals."""
    top_picks_playlists: bool = False
    """Whether Top Picks are published as a playlist for each user."""
    top_picks_name: TypedName = "Top Picks - {type}"
    """Name of these libraries, collections and playlists."""
    shows_you_watch_libraries: bool = True
    """Whether the series that a user watches are published as a library."""
    shows_you_watch_name: OwnName = "Shows You Watch - {username}"
    """Name of this library."""


class WatchingSettings(SettingsGroup):
    """Shows You Watch."""

    shows_you_watch_minimum_episodes: PositiveInt = 2
    """Episodes of a series that a user must have played."""
    shows_you_watch_days: NonNegativeInt = 60
    """Days since the last played episode after which a series is no longer listed; 0: never."""
    shows_you_watch_ended_days: NonNegativeInt = 0
    """The same for series that have ended or were canceled; 0: they are not listed."""
    shows_you_watch_episodes: PositiveInt = 10
    """Published episodes per series, from the next unwatched one on."""
