"""Lists as rows on the media server's home screen, which show the originals: nothing is placed on the server."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

from sqlalchemy import Connection

from aperture_dagster.catalogue.people import User, who_takes_part
from aperture_dagster.catalogue.stored_users import read_users, server_identity
from aperture_dagster.media_server.jellyfin.home_screen import HomeScreen
from aperture_dagster.members.visible_titles import VisibleTitle, titles_in_sight
from aperture_dagster.model import MEDIA_TYPES, listed
from aperture_dagster.popularity.watch_again import watch_again
from aperture_dagster.postgres.queries import array_of, read_rows
from aperture_dagster.publishing.disk.queries import listed_works, next_episodes
from aperture_dagster.settings import Settings

LENGTH = 24
UNTOUCHED: Mapping[str, Any] = {"PlayedPercentage": 0.0, "PlayCount": 0, "IsFavorite": False, "Played": False}


def _in_turn(connection: Connection, kind: str, today: date) -> list[int]:
    """Read films and series in turn, so that neither waits for the end of the other."""
    lists = [listed_works(connection, f"{kind}/{media_type}", today=today) for media_type in MEDIA_TYPES]
    return [work for _, work in sorted((one for listed in lists for one in listed), key=lambda one: one[0])]


def _picked(connection: Connection, user: User, today: date) -> Sequence[int]:
    return _in_turn(connection, f"recommendations/{user.user_id}", today)


def _because(connection: Connection, user: User, today: date) -> Sequence[int]:
    """Read what is recommended for the same first reason: the title that is the first reason of most."""
    statement = """
        SELECT work_id, because[1] AS reason FROM recommendations
        WHERE user_id = :user AND cardinality(because) > 0 ORDER BY rank, media_type"""
    rows = read_rows(connection, statement, user=user.user_id)
    reasons = [row["reason"] for row in rows]
    favourite = max(reasons, key=reasons.count, default=None)
    return [row["work_id"] for row in rows if row["reason"] == favourite]


def _watching(connection: Connection, user: User, today: date) -> Sequence[int]:
    following = next_episodes(connection, user.user_id)
    listed = listed_works(connection, f"shows_you_watch/{user.user_id}", today=today)
    return [work for _, work in listed if work in following]


def _again(connection: Connection, user: User, today: date) -> Sequence[int]:
    return [row["work_id"] for row in watch_again(connection, user.user_id, today)]


def _popular(connection: Connection, user: User, today: date) -> Sequence[int]:
    return _in_turn(connection, "top_picks", today)


class Row(NamedTuple):
    """A row: its id on the server, its heading, and how its works are read.

    The server shows one heading to everybody, so it names neither a user nor what somebody watched.
    """

    row_id: str
    text: str
    read: Callable[[Connection, User, date], Sequence[int]]


ROWS = (
    Row("ApertureForYou", "Picked for you", _picked),
    Row("ApertureBecause", "Because of a favourite of yours", _because),
    Row("ApertureShows", "Shows you watch", _watching),
    Row("ApertureAgain", "Watch again", _again),
    Row("AperturePicks", "Top Picks", _popular),
)


def row_titles(connection: Connection, row: Row, user: User, today: date) -> list[VisibleTitle]:
    """Return what a user sees in a row: of the stored list, what they may see by now."""
    works = list(dict.fromkeys(row.read(connection, user, today)))
    visible = titles_in_sight(connection, user, works)
    return [visible[work] for work in works if work in visible][:LENGTH]


def states_of(connection: Connection, user: User, titles: Sequence[VisibleTitle]) -> dict[int, dict[str, Any]]:
    """Read what a user's cards say of titles, by item: the fields of Jellyfin's ``UserItemDataDto`` that we know."""
    statement = """
        SELECT item_id, played, play_count, position_share::float8 AS position_share, favorite FROM watch_state
        WHERE user_id = :user AND item_id = ANY(CAST(:items AS bigint[]))"""
    rows = read_rows(connection, statement, user=user.user_id, items=array_of([title.item_id for title in titles]))
    return {
        row["item_id"]: {
            "PlayedPercentage": 100 * row["position_share"],
            "PlayCount": row["play_count"],
            "IsFavorite": row["favorite"],
            "Played": row["played"],
        }
        for row in rows
    }


def as_item(title: VisibleTitle, server_id: str | None, state: Mapping[str, Any] = UNTOUCHED) -> dict[str, Any]:
    """Describe a title as Jellyfin would, as far as a card on the home screen shows and opens it.

    ``state`` is the user's, as of the last look at their history (see :func:`states_of`).
    """
    is_series = title.media_type == "series"
    return {
        "Id": title.server_item_id,
        "ServerId": server_id,
        "Name": title.title,
        "ProductionYear": title.year,
        "Type": "Series" if is_series else "Movie",
        "MediaType": "Unknown" if is_series else "Video",
        "IsFolder": is_series,
        "LocationType": "FileSystem",
        # Browsers keep a picture with a tag for a year, so it has to change with the picture.
        "ImageTags": {"Primary": title.picture_tag} if title.picture_tag is not None else {},
        "PrimaryImageAspectRatio": 2 / 3,
        "BackdropImageTags": [],
        "UserData": {
            "PlaybackPositionTicks": 0,
            "Key": title.server_item_id,
            "ItemId": title.server_item_id,
            **state,
        },
    }


def row_items(connection: Connection, row: Row, asking: str, settings: Settings, now: datetime) -> list[dict[str, Any]]:
    """Return the cards of a row for the user of an id, as the server writes it; none for who does not take part."""
    people = {one.user_id.replace("-", "").lower(): one for one in who_takes_part(settings, read_users(connection))}
    user = people.get(asking.replace("-", "").lower())
    if user is None:
        return []
    titles = row_titles(connection, row, user, now.astimezone(ZoneInfo(settings.schedule_timezone)).date())
    states, identity = states_of(connection, user, titles), server_identity(connection) or {}
    return [as_item(title, identity.get("server_id"), states.get(title.item_id, UNTOUCHED)) for title in titles]


def register_rows(screen: HomeScreen, endpoint: Callable[[str], str]) -> None:
    """Register all rows; ``endpoint`` returns the address of the titles of a row by its id."""
    for row in ROWS:
        screen.register(row.row_id, row.text, endpoint(row.row_id))


UNSUPPORTED = (
    "with the web client of Jellyfin 12, the plugin Home Screen Sections leaves the whole home screen empty, so no "
    "rows are registered there: remove the plugin, and set APERTURE_PUBLISH_AS to another value"
)
UNSAVED = (
    "the settings of the plugin Home Screen Sections were never saved, and until then it shows nothing: open "
    "Dashboard, Plugins, Home Screen Sections on the media server, and save them once"
)
ABSENT = (
    "the media server does not have the plugin Home Screen Sections: install it, or set APERTURE_PUBLISH_AS to another "
    "value"
)
NOT_ON = (
    "the home screen of the plugin is off for everybody: turn on Enabled by Default in the settings of Home Screen "
    "Sections on the media server, or let each member turn it on under Modular Home"
)


def examine_rows(connection: Connection, screen: HomeScreen, users: Sequence[User], today: date) -> tuple[bool, str]:
    """Return whether a member sees a row, and what is there or missing, without a full stop.

    Of what is missing, what has to be done first comes first.

    Raises:
        ServiceError: the media server does not answer.
    """
    state = screen.state()
    if state == "absent":
        return False, ABSENT
    if state == "starting":
        return False, "the plugin Home Screen Sections is starting: look again in a minute"
    if state == "unsupported":
        return False, UNSUPPORTED
    if missing := screen.missing_companions():
        return False, f"the media server does not have what Home Screen Sections needs: install {listed(missing)}"
    if state == "unsaved":
        return False, UNSAVED
    viewer = next((user for user in users if row_titles(connection, ROWS[0], user, today)), None)
    if viewer is None:
        return False, "the plugin Home Screen Sections is there; nobody has a list yet"
    shown = screen.shown(ROWS[0].row_id, viewer.user_id)
    if not shown:
        return False, (
            f"the row {ROWS[0].text!r} of {viewer.name} is empty: `aperture up` has to run for two minutes, and the "
            "media server has to reach it: set APERTURE_UI_HOST unless both are on one machine"
        )
    if not screen.is_on():
        return False, NOT_ON
    ours = {row.row_id for row in ROWS}
    if not any(ours & {*screen.sections(user.user_id)} for user in users):
        return False, (
            "the home screen of no member has a row of ours: they are turned off in the settings of Home Screen "
            "Sections, or by each member under Modular Home"
        )
    return True, f"the row {ROWS[0].text!r} of {viewer.name} has {len(shown)} titles"
