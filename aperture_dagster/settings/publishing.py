"""Settings of what is published on the media server."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field, NonNegativeInt, PositiveInt
from pydantic_settings import NoDecode

from aperture_dagster.settings.types import SettingsGroup, Texts, split_names


def _check_template(value: str) -> str:
    """Accept a name in which only the placeholders of a template appear in braces."""
    try:
        name = value.format(username="name", type="type")
    except (LookupError, ValueError, AttributeError):
        raise ValueError("expected a name with no other placeholders than {username} and {type}") from None
    if not name.strip() or not name.isprintable():
        raise ValueError("expected a name")
    return value.strip()


def _check_names(given: dict[str, str]) -> dict[str, str]:
    """Accept names for kinds of lists that are distinct for each user and media type; the others keep their default."""
    for kind, value in given.items():
        if kind not in DEFAULT_NAMES:
            raise ValueError(f"expected names for {', '.join(DEFAULT_NAMES)}, not for {kind}")
        for placeholder in ("{username}", "{type}"):
            if placeholder in DEFAULT_NAMES[kind] and placeholder not in value:
                raise ValueError(f"expected {placeholder} in the name for {kind}, so that no two lists share a library")
    return DEFAULT_NAMES | {kind: _check_template(value) for kind, value in given.items()}


DEFAULT_NAMES = {
    "recommendations": "{username}'s AI Picks - {type}",
    "top_picks": "Top Picks - {type}",
    "shows_you_watch": "Shows You Watch - {username}",
}
PublishedAs = Literal[
    "recommendation_libraries", "recommendation_playlists", "top_picks_libraries", "top_picks_collections",
    "top_picks_playlists", "shows_you_watch_libraries",
]  # fmt: skip


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
    publish_as: Literal["auto", "symlink", "hardlink", "strm", "rows"] = "auto"
    """How published titles refer to the originals. auto: symlinks on Jellyfin, STRM files on Emby. rows: nothing is
    placed on the server; lists are [rows on Jellyfin's home screen](publishing.md#rows-on-the-home-screen).
    """
    publish_strict_access: bool = True
    """Whether users who may see all libraries get a list of them instead, so that they cannot find the published
    libraries of others. Libraries that you add are added to it. If not, those of others are hidden in their views.
    """
    share_watch_state: bool = True
    """Whether published copies and originals share what was watched, in both directions, where the media server does
    not do so itself: played, position, favourite.
    """
    publish_reasons: Literal["tagline", "overview", "off"] = "tagline"
    """Where the page of a recommended title says why: in place of its tagline, above its overview, or nowhere."""
    publish_lists: Annotated[tuple[PublishedAs, ...], NoDecode, BeforeValidator(split_names)] = (
        "recommendation_libraries", "top_picks_libraries", "shows_you_watch_libraries",
    )  # fmt: skip
    """What is published, of recommendation_libraries, recommendation_playlists, top_picks_libraries,
    top_picks_collections, top_picks_playlists (one for each user) and shows_you_watch_libraries.
    """
    publish_names: Annotated[Texts, AfterValidator(_check_names)] = DEFAULT_NAMES
    """Names of libraries, collections and playlists, as a JSON object of those that are not the default:
    `{"top_picks": "Best of - {type}"}`.
    """


class WatchingSettings(SettingsGroup):
    """Shows You Watch."""

    shows_you_watch_minimum_episodes: PositiveInt = 2
    """Episodes of a series that a user must have played."""
    shows_you_watch_days: NonNegativeInt = 60
    """Days since the last played episode after which a series is no longer listed; 0: never."""
    shows_you_watch_ended_days: NonNegativeInt = 0
    """The same for series that have ended or were canceled; 0: they are not listed."""
