"""What is on a member's pages: their lists, in words, without the titles that they may not see by now."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any, NamedTuple

from sqlalchemy import Connection

from aperture_dagster.catalogue.people import User
from aperture_dagster.catalogue.watch_states import recent_works
from aperture_dagster.discovery.suggestions import (
    candidate_table,
    dismissed_titles,
    read_requests,
    said_to_stream,
    why_suggested,
)
from aperture_dagster.discovery.suitability import read_pool_titles, today_of, why_forbidden
from aperture_dagster.popularity.queries import shows_table
from aperture_dagster.popularity.series import episode_label
from aperture_dagster.ratings.accounts import why_off
from aperture_dagster.ratings.in_force import ratings_in_force
from aperture_dagster.ratings.tokens import read_account
from aperture_dagster.settings import Settings
from aperture_dagster.taste.lists import liked_genres, profile_table, reason_of, recommendation_table, top_picks_table
from aperture_dagster.taste.more_like_this import titles_to_follow
from aperture_dagster.taste.rewatches import watch_again
from aperture_dagster.taste.sight import VisibleTitle, titles_in_sight
from aperture_dagster.texts.translations import ENGLISH, Texts, marked

LABELS = {"movie": marked("Films"), "series": marked("Series")}
RECENT, GENRES, NAMED_TRAITS = 12, 8, 4
"""Titles and genres under *My taste*, and traits in a sentence."""
CONNECT = "/trakt", marked("Connect Trakt")
STATES = {
    "sending": marked("not confirmed yet"),
    "pending": marked("waits for approval"),
    "approved": marked("approved"),
    "declined": marked("declined"),
    "failed": marked("failed"),
    "completed": marked("completed"),
    "available": marked("available"),
    "refused": marked("refused"),
}
"""What states of requests are called."""
RESERVE = 5
"""One part of so many of a list is shown only in place of titles that its member hides."""
Row = Mapping[str, Any]


class Card(NamedTuple):
    """A title on a page: ``lines`` are shown below its name; ``item`` is its id on the media server, if it is there.

    ``row`` is that of the list, if it is on one.
    """

    rank: int
    work: int
    title: str
    year: int | None
    lines: Sequence[str]
    row: Row
    item: str | None = None


class Shelf(NamedTuple):
    """Titles below a heading. ``button``: path and text of the only button of each, or nothing; None: the usual.

    Heading and text are translated where they are shown.
    """

    heading: str
    cards: Sequence[Card]
    button: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class Page:
    """A page of a member; ``nothing`` says why there is none of its titles, ``lines`` come before them.

    ``genres`` have the per cent of what they like; ``trakt`` says how their account there stands, and has the path and
    text of the button that changes it.
    """

    heading: str
    nothing: str
    shelves: Sequence[Shelf] = field(default_factory=tuple)
    lines: Sequence[str] = field(default_factory=tuple)
    genres: Sequence[tuple[str, int]] = field(default_factory=tuple)
    trakt: tuple[str, str, str] | None = None


def for_you(connection: Connection, viewer: User, settings: Settings, now: datetime, _: Texts) -> Page:
    """Return the films and series that are recommended to a member, and what they may like to watch again."""
    rows = recommendation_table(connection, viewer.user_id)
    today = today_of(now, settings)
    # On the first day of a list, everything would be new.
    news = {row["work_id"] for row in rows if row["listed_since"] == today} if _days(rows) - {today} else set()
    visible = titles_in_sight(connection, viewer, _works(rows))
    new = _("New since yesterday")
    shelves = _shelves(rows, visible, lambda row: [*[new] * (row["work_id"] in news), reason_of(row, _)])
    shelves = _in_view(shelves, {LABELS[name]: one.per_list for name, one in settings.recommendation_rules.items()})
    rows = watch_again(connection, viewer.user_id, today)
    if again := _cards(rows, titles_in_sight(connection, viewer, _works(rows)), lambda row: [_times(row, settings, _)]):
        shelves.append(Shelf(marked("Watch again"), again))
    nothing = _("Your list is made once the library and what you watched have been read.")
    return Page(_("For %(name)s", name=viewer.name), nothing, shelves)


def shows(connection: Connection, viewer: User, settings: Settings, now: datetime, _: Texts) -> Page:
    """Return the series that a member watches, with the next episode of each."""
    rows = shows_table(connection, viewer.user_id, today=today_of(now, settings))
    visible = titles_in_sight(connection, viewer, _works(rows))
    cards = _cards(rows, visible, lambda row: _progress(row, _))
    nothing = _("A series appears here once you have watched some episodes of it.")
    return Page(_("Shows you watch"), nothing, [Shelf(LABELS["series"], cards)] if cards else [])


def top_picks(connection: Connection, viewer: User, settings: Settings, now: datetime, _: Texts) -> Page:
    """Return what is popular in the household."""
    rows = top_picks_table(connection, today_of(now, settings))
    shelves = _shelves(rows, titles_in_sight(connection, viewer, _works(rows)), lambda row: [])
    return Page(_("Top Picks"), _("This list needs a few plays of several people."), shelves)


def suggestions(connection: Connection, viewer: User, settings: Settings, now: datetime, _: Texts) -> Page:
    """Return titles that are not in the library and would suit a member, with where they stream."""
    rows = candidate_table(connection, viewer.user_id, country=settings.country)
    suitable = _suitable(connection, viewer, settings, _works(rows))
    shown = [row for row in rows if row["work_id"] in suitable]
    lines = {row["work_id"]: [why_suggested(row, _), *said_to_stream(row, _)] for row in shown}
    shelves = [
        Shelf(
            label,
            [
                Card(place, row["work_id"], row["title"], row["year"], lines[row["work_id"]], row)
                for place, row in enumerate(ours, start=1)
            ],
        )
        for media_type, label in LABELS.items()
        if (ours := [row for row in shown if row["media_type"] == media_type])
    ]
    shelves = _in_view(shelves, dict.fromkeys(LABELS.values(), settings.discovery_per_list))
    shelves += _requested(connection, viewer, settings, _)
    return Page(_("Not in the library"), _("Nothing is suggested at the moment."), shelves)


def _requested(connection: Connection, viewer: User, settings: Settings, _: Texts) -> list[Shelf]:
    """Arrange what was requested for a member, with what became of it, without what they may not see by now."""
    rows = read_requests(connection, [viewer.user_id])
    allowed = _allowed(connection, viewer, settings, [row.work_id for row in rows])
    shown = [row for row in rows if row.work_id in allowed]
    said = [f"{_.day(today_of(row.requested_at, settings))}: {_(STATES[row.state])}" for row in shown]
    cards = [
        Card(place, row.work_id, row.title, None, [line], {})
        for place, (row, line) in enumerate(zip(shown, said, strict=True), start=1)
    ]
    return [Shelf(marked("Requested"), cards, ())] if cards else []


def _suitable(connection: Connection, viewer: User, settings: Settings, works: Sequence[int]) -> set[int]:
    """Return which works that were suggested to somebody a member may see."""
    titles = read_pool_titles(connection, works)
    return {one.work_id for one in titles if why_forbidden(one, viewer, settings.country) is None}


def _allowed(connection: Connection, viewer: User, settings: Settings, works: Sequence[int]) -> set[int]:
    """Return which works a member may see, be they in the library or not."""
    return _suitable(connection, viewer, settings, works) | titles_in_sight(connection, viewer, works).keys()


def my_taste(connection: Connection, viewer: User, settings: Settings, now: datetime, _: Texts) -> Page:
    """Return what a member likes, in words, and what they have hidden."""
    user_id = viewer.user_id

    def day(moment: datetime) -> str:
        return _.day(today_of(moment, settings))

    recent = recent_works(connection, user_id, RECENT)
    visible = titles_in_sight(connection, viewer, _works(recent))
    shares = liked_genres(connection, [user_id])[user_id]
    hidden, wanted = dismissed_titles(connection, user_id), titles_to_follow(connection, user_id)
    allowed = _allowed(connection, viewer, settings, _works(wanted))
    undo, show_again = ("/more-like-this/undo", marked("Undo")), ("/not-for-me/undo", marked("Show it again"))
    shelves = [
        Shelf(marked("Recently watched"), _cards(recent, visible, lambda row: [day(row["played_at"])])),
        Shelf(
            marked("More like these"),
            [_said(row, day(row["asked_at"])) for row in wanted if row["work_id"] in allowed],
            undo,
        ),
        Shelf(marked("Not for you"), [_said(row, day(row["dismissed_at"])) for row in hidden], show_again),
    ]
    return Page(
        _("My taste"),
        _("Nothing was watched or said yet. “Not for me” below a title takes it off all of your lists."),
        [shelf for shelf in shelves if shelf.cards],
        [line for row in profile_table(connection, [user_id]) for line in _likes(row, _)],
        [(genre, round(100 * share)) for genre, share in list(shares.items())[:GENRES]],
        None if why_off(settings) is not None else _trakt_of(connection, user_id, _),
    )


def _said(row: Row, day: str) -> Card:
    """Show a title by the name that it had when a member said something of it."""
    return Card(0, row["work_id"], row["title"], None, [day], {})


def _trakt_of(connection: Connection, user_id: str, _: Texts) -> tuple[str, str, str]:
    account = read_account(connection, user_id)
    if account is None:
        return _("Your ratings here and on Trakt are kept in step once you connect your account there."), *CONNECT
    name = account.trakt_user or "Trakt"
    if account.state != "connected":
        return _("Trakt does not accept the connection to %(name)s any more.", name=name), *CONNECT
    in_step = _("Your ratings are kept in step with %(name)s on Trakt.", name=name)
    return in_step, "/trakt/disconnect", marked("Disconnect")


def find_card(
    connection: Connection, viewer: User, settings: Settings, now: datetime, work: int, _: Texts = ENGLISH
) -> Card | None:
    """Return a title of the library, or one that is suggested to a member; None unless they may see it."""
    found = titles_in_sight(connection, viewer, [work]).get(work)
    if found is None:
        return _card_on(suggestions(connection, viewer, settings, now, _), work)
    plain = Card(0, work, found.title, found.year, [], {}, found.server_item_id)
    return _card_on(for_you(connection, viewer, settings, now, _), work) or plain


def one_title(
    connection: Connection, viewer: User, settings: Settings, now: datetime, _: Texts, work: int
) -> Page | None:
    """Return the page of a title; None if there is none that the member could find."""
    card = find_card(connection, viewer, settings, now, work, _)
    return None if card is None else Page(card.title, "", [Shelf("", [card])])


def own_ratings(connection: Connection, viewer: User, page: Page) -> dict[int, int]:
    """Return a member's ratings of the titles on a page, from 1 to 10."""
    works = [card.work for shelf in page.shelves for card in shelf.cards]
    found = ratings_in_force(connection, viewer.user_id, works=works)
    return {work: one.value for work, one in found.items() if one.value is not None}


def _card_on(page: Page, work_id: int) -> Card | None:
    return next((card for shelf in page.shelves for card in shelf.cards if card.work == work_id), None)


def _in_view(shelves: Sequence[Shelf], most: Mapping[str, int]) -> list[Shelf]:
    """Leave out what waits to take the place of hidden titles; ``most`` has the length of each list, by heading."""
    reserves = {heading: length // RESERVE for heading, length in most.items()}
    return [one._replace(cards=one.cards[: most[one.heading] - reserves[one.heading]]) for one in shelves]


def _days(rows: Collection[Row]) -> set[date]:
    return {row["listed_since"] for row in rows}


def _works(rows: Collection[Row]) -> list[int]:
    return [row["work_id"] for row in rows]


def _shelves(rows: Sequence[Row], visible: Mapping[int, VisibleTitle], say: Any) -> list[Shelf]:
    """Arrange films and series, without those that are not visible."""
    found = {
        label: _cards([row for row in rows if row["media_type"] == media_type], visible, say)
        for media_type, label in LABELS.items()
    }
    return [Shelf(label, cards) for label, cards in found.items() if cards]


def _cards(rows: Sequence[Row], visible: Mapping[int, VisibleTitle], say: Any) -> list[Card]:
    seen = [(row, visible[row["work_id"]]) for row in rows if row["work_id"] in visible]
    return [
        Card(place, title.work_id, title.title, title.year, say(row), row, title.server_item_id)
        for place, (row, title) in enumerate(seen, start=1)
    ]


def _times(row: Row, settings: Settings, _: Texts) -> str:
    day = _.day(today_of(row["last"], settings))
    return _("Watched %(times)s times, last on %(day)s", times=_.number(row["times"]), day=day)


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


def next_episode(row: Row, _: Texts = ENGLISH) -> str:
    """Say which episode of a series is next."""
    label = episode_label(row["next_season"], row["next_number"])
    name = " · ".join(part for part in (label, row["next_title"]) if part)
    return _("Next: %(episode)s", episode=name) if name else _("You are up to date")


def _progress(row: Row, _: Texts) -> list[str]:
    """Say which episode is next, how many there are to watch, and when the next one airs."""
    behind, days = row["behind"], row["days_until"]
    lines = [next_episode(row, _)]
    if behind:
        lines.append(_.plural("%(count)s episode to watch", "%(count)s episodes to watch", behind))
    if days is not None:
        in_days = _.plural("New episode in %(count)s day", "New episode in %(count)s days", days)
        lines.append(_("New episode today") if days == 0 else in_days)
    return lines
