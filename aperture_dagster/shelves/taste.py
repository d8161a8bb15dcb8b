"""What a member likes, in words, what they said of titles, and how their account on Trakt stands."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import Connection

from aperture_dagster.catalogue.choices import choices_of
from aperture_dagster.catalogue.people import User
from aperture_dagster.catalogue.watch_states import recent_works
from aperture_dagster.discovery.suggestions import dismissed_titles
from aperture_dagster.discovery.suitability import today_of
from aperture_dagster.model.clock import Clock
from aperture_dagster.postgres.database import Database
from aperture_dagster.ratings.accounts import TraktAccounts
from aperture_dagster.settings import Settings
from aperture_dagster.shelves.lists import Card, Page, Row, Shelf, allowed_works, cards_of, works_of
from aperture_dagster.taste.lists import library_genres, liked_genres, profile_table
from aperture_dagster.taste.more_like_this import titles_to_follow
from aperture_dagster.taste.sight import titles_in_sight
from aperture_dagster.texts.translations import Texts, marked

RECENT, GENRES, NAMED_TRAITS = 12, 8, 4
"""Titles and genres, and traits in a sentence."""
CONNECT, DISCONNECT = ("/trakt", marked("Connect Trakt")), ("/trakt/disconnect", marked("Disconnect"))


def my_taste(connection: Connection, viewer: User, settings: Settings, now: datetime, _: Texts) -> Page:
    """Return what a member likes, in words, and what they have hidden."""
    user_id = viewer.user_id

    def day(moment: datetime) -> str:
        return _.day(today_of(moment, settings))

    def said(rows: list[dict[str, Any]], when: str) -> list[Card]:
        # By the names that they had when the member said something of them.
        return [
            Card(0, row["work_id"], row["title"], None, [day(row[when])], {})
            for row in rows
            if row["work_id"] in allowed
        ]

    recent = recent_works(connection, user_id, RECENT)
    visible = titles_in_sight(connection, viewer, works_of(recent))
    shares = liked_genres(connection, [user_id])[user_id]
    hidden, wanted = dismissed_titles(connection, user_id), titles_to_follow(connection, user_id)
    excluded = choices_of(connection, user_id).excluded_genres
    allowed = allowed_works(connection, viewer, settings, works_of([*hidden, *wanted]))
    undo, show_again = ("/more-like-this/undo", marked("Undo")), ("/not-for-me/undo", marked("Show it again"))
    shelves = [
        Shelf(marked("Recently watched"), cards_of(recent, visible, lambda row: [day(row["played_at"])])),
        Shelf(marked("More like these"), said(wanted, "asked_at"), undo),
        Shelf(marked("Not for you"), said(hidden, "dismissed_at"), show_again),
    ]
    return Page(
        _("My taste"),
        _("Nothing was watched or said yet. “Not for me” below a title takes it off all of your lists."),
        [shelf for shelf in shelves if shelf.cards],
        [line for row in profile_table(connection, [user_id]) for line in _likes(row, _)],
        [(genre, round(100 * share)) for genre, share in list(shares.items())[:GENRES]],
        [(genre, genre in excluded) for genre in sorted({*library_genres(connection), *excluded})],
        _trakt_of(connection, user_id, settings, now, _),
    )


def _trakt_of(
    connection: Connection, user_id: str, settings: Settings, now: datetime, _: Texts
) -> tuple[str, str, str] | None:
    accounts = TraktAccounts(settings, Database(settings), Clock(lambda: now))
    if accounts.why_off() is not None:
        return None
    account = accounts.account_in(connection, user_id)
    if account is None:
        return _("Your ratings here and on Trakt are kept in step once you connect your account there."), *CONNECT
    name = account.trakt_user or "Trakt"
    if account.state == "reconnect":
        return _("The connection to %(name)s on Trakt cannot be used any more. Connect again.", name=name), *CONNECT
    if account.state == "parked":
        parked = _("Trakt refuses something for %(name)s: look there. It is tried again once a day.", name=name)
        return parked, *DISCONNECT
    return _("Your ratings are kept in step with %(name)s on Trakt.", name=name), *DISCONNECT


def _likes(row: Row, _: Texts) -> list[str]:
    """Say how many films or series a member likes, and what sets these apart."""
    liked = int(row["liked"])
    if not liked:
        return []
    if row["media_type"] == "movie":
        lines = [_.plural("You like %(count)s film.", "You like %(count)s films.", liked)]
    else:
        lines = [_.plural("You like %(count)s series.", "You like %(count)s series.", liked)]
    if row["genres"]:
        lines.append(_("Compared with the library, more %(genres)s.", genres=_.listed(row["genres"][:NAMED_TRAITS])))
    if row["keywords"]:
        lines.append(_("Often about: %(subjects)s.", subjects=_.listed(row["keywords"][:NAMED_TRAITS])))
    return [" ".join(lines)]
