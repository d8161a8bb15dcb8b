"""What each member finds on their lists, in words and in their language: pages, programs and letters show the same.

Lists are made ahead, and what their members may see can have changed since: all of it is asked again.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple
from urllib.parse import quote

from sqlalchemy import Connection

from aperture_dagster.catalogue.history.states import recent_works
from aperture_dagster.catalogue.people import User
from aperture_dagster.discovery.arrivals import read_arrivals
from aperture_dagster.discovery.pool import owned_under_any_id
from aperture_dagster.discovery.requests import STATES
from aperture_dagster.discovery.suggestions import (
    candidate_table,
    pool_names,
    read_requests,
    said_to_stream,
    suggested_title,
    why_suggested,
)
from aperture_dagster.discovery.suitability import findable, read_pool_titles, today_of, why_forbidden
from aperture_dagster.members.choices import choices_of, genres_to_choose
from aperture_dagster.members.for_later import titles_for_later
from aperture_dagster.members.hidden import dismissed_titles
from aperture_dagster.members.more_like_this import titles_to_follow
from aperture_dagster.members.visible_titles import VisibleTitle, titles_in_sight
from aperture_dagster.members.watched_together import titles_watched_together
from aperture_dagster.model import Clock
from aperture_dagster.popularity.series import episode_label
from aperture_dagster.popularity.shows import shows_table
from aperture_dagster.popularity.stored_picks import top_picks_table
from aperture_dagster.popularity.watch_again import watch_again
from aperture_dagster.postgres.database import Database
from aperture_dagster.postgres.queries import array_of, execute, read_value
from aperture_dagster.ratings.in_force import ratings_in_force
from aperture_dagster.settings import Settings
from aperture_dagster.taste.lists import liked_genres, profile_table, reason_of, recommendation_table
from aperture_dagster.texts import ENGLISH, Texts, marked
from aperture_dagster.trakt.accounts import TraktAccounts

# The lists of a member, in words, without the titles that they may not see by now.


LABELS = {"movie": marked("Films"), "series": marked("Series")}
MOST_ARRIVED = 12
RESERVE = 5
"""One part of so many of a list is shown only in place of titles that its member hides."""
Row = Mapping[str, Any]
Say = Callable[[Row], Sequence[str]]


class Card(NamedTuple):
    """A title: ``lines`` are what is said of it; ``item`` is its id on the media server, if it is there.

    ``row`` is that of the list, if it is on one. ``has_page``: the member can open the page of the title.
    """

    rank: int
    work: int
    title: str
    year: int | None
    lines: Sequence[str]
    row: Row
    item: str | None = None
    has_page: bool = True

    @property
    def pictures(self) -> str:
        """Where its poster is, and below that its backdrop: a path among ours, empty without one."""
        if self.item:
            return f"/pictures/{quote(self.item)}"
        return f"/pictures/suggested/{self.work}" if self.row.get("poster_path") else ""


class Shelf(NamedTuple):
    """Titles below a heading. ``button``: path and text of the only button of each, or nothing; None: the usual.

    Heading and text are translated where they are shown.
    """

    heading: str
    cards: Sequence[Card]
    button: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class Page:
    """What a member finds in one place; ``nothing`` says why there is none of its titles, ``lines`` come before them.

    ``genres`` have the per cent of what they like, ``choosable`` are those of the library, with whether the member
    excludes them; ``trakt`` says how their account there stands, and has the path and
    text of the button that changes it.
    """

    heading: str
    nothing: str
    shelves: Sequence[Shelf] = field(default_factory=tuple)
    lines: Sequence[str] = field(default_factory=tuple)
    genres: Sequence[tuple[str, int]] = field(default_factory=tuple)
    choosable: Sequence[tuple[str, bool]] = field(default_factory=tuple)
    trakt: tuple[str, str, str] | None = None

    def listed(self, media_type: str | None = None) -> list[Card]:
        """Return what is on the list itself, films or series alone if a type is given."""
        labels = LABELS.values() if media_type is None else [LABELS[media_type]]
        return [card for shelf in self.shelves if shelf.heading in labels for card in shelf.cards]


def for_you(connection: Connection, viewer: User, settings: Settings, now: datetime, _: Texts) -> Page:
    """Return the films and series that are recommended to a member, and what they may like to watch again."""
    shelves = recommended(connection, viewer, settings, now, _)
    rows = watch_again(connection, viewer.user_id, today_of(now, settings))
    visible = titles_in_sight(connection, viewer, works_of(rows))
    again = Shelf(marked("Watch again"), cards_of(rows, visible, lambda row: [_times(row, settings, _)]))
    nothing = _("Your list is made once the library and what you watched have been read.")
    extra = [shelf for shelf in (arrived(connection, viewer, now, _), again) if shelf.cards]
    return Page(_("For %(name)s", name=viewer.name), nothing, [*shelves, *extra])


def recommended(connection: Connection, viewer: User, settings: Settings, now: datetime, _: Texts) -> list[Shelf]:
    """Return the films and series that are recommended to a member, with the reasons."""
    rows = _nameable(connection, viewer, settings, recommendation_table(connection, viewer.user_id))
    today = today_of(now, settings)
    # On the first day of a list, everything would be new.
    is_renewed = {row["listed_since"] for row in rows} - {today}
    news = {row["work_id"] for row in rows if row["listed_since"] == today} if is_renewed else set()
    new = _("New since yesterday")
    visible = titles_in_sight(connection, viewer, works_of(rows))
    shelves = _by_type(rows, visible, lambda row: [*[new] * (row["work_id"] in news), reason_of(row, _)])
    return _in_view(shelves, {LABELS[name]: one.per_list for name, one in settings.recommendation_rules.items()})


def arrived(connection: Connection, viewer: User, now: datetime, _: Texts) -> Shelf:
    """Return what has come into the library that a member waited for, the latest first."""
    rows = read_arrivals(connection, viewer.user_id, now=now)

    def why(row: Row) -> list[str]:
        if row["why"] == "season":
            return [_("Season %(number)s is here", number=row["season"])]
        return [_("You requested it")] if row["why"] == "requested" else [_("You put it aside for later")]

    visible = titles_in_sight(connection, viewer, works_of(rows))
    cards = cards_of(rows, visible, why)[:MOST_ARRIVED]
    return Shelf(marked("What has arrived"), [card._replace(rank=0) for card in cards])


def shows(connection: Connection, viewer: User, settings: Settings, now: datetime, _: Texts) -> Page:
    """Return the series that a member watches, with the next episode of each."""
    rows = shows_table(connection, viewer.user_id, today=today_of(now, settings))
    visible = titles_in_sight(connection, viewer, works_of(rows))
    nothing = _("A series appears here once you have watched some episodes of it.")
    return Page(_("Shows you watch"), nothing, _by_type(rows, visible, lambda row: _progress(row, _)))


def top_picks(connection: Connection, viewer: User, settings: Settings, now: datetime, _: Texts) -> Page:
    """Return what is popular in the household."""
    rows = top_picks_table(connection, today_of(now, settings))
    shelves = _by_type(rows, titles_in_sight(connection, viewer, works_of(rows)), lambda row: [])
    return Page(_("Top Picks"), _("This list needs a few plays of several people."), shelves)


def suggestions(connection: Connection, viewer: User, settings: Settings, now: datetime, _: Texts) -> Page:
    """Return titles that are not in the library and would suit a member, with where they stream."""
    rows = candidate_table(connection, viewer.user_id, country=settings.country)
    suitable = _suitable(connection, viewer, settings, works_of(rows))
    shown = _nameable(connection, viewer, settings, [row for row in rows if row["work_id"] in suitable])
    shelves = _by_type(shown, None, lambda row: [why_suggested(row, _), *said_to_stream(row, _)])
    shelves = _in_view(shelves, dict.fromkeys(LABELS.values(), settings.discovery_per_list))
    shelves += _requested(connection, viewer, settings, _)
    return Page(_("Not in the library"), _("Nothing is suggested at the moment."), shelves)


def for_later(connection: Connection, viewer: User, settings: Settings, now: datetime, _: Texts) -> Page:
    """Return what a member put aside, the latest first; what the library lacks comes last."""
    rows = titles_for_later(connection, viewer.user_id)
    works = works_of(rows)
    visible = titles_in_sight(connection, viewer, works)
    here = [{**row, "media_type": visible[row["work_id"]].media_type} for row in rows if row["work_id"] in visible]

    def since(row: Row) -> list[str]:
        day = _.day(today_of(row["added_at"], settings))
        lines = [_("Since %(day)s", day=day)]
        return [_("Now in the library"), *lines] if row["was_missing"] and row["work_id"] in visible else lines

    elsewhere = _suitable(connection, viewer, settings, works) - owned_under_any_id(connection, works)
    missing = [
        Card(0, row["work_id"], row["title"], None, since(row), {})
        for row in rows
        if row["work_id"] in elsewhere and row["work_id"] not in visible
    ]
    shelves = _by_type(here, visible, since)
    shelves += [Shelf(marked("Not in the library"), missing)] if missing else []
    return Page(_("For later"), _("Nothing yet. “For later” below a title puts it here until you watch it."), shelves)


def _requested(connection: Connection, viewer: User, settings: Settings, _: Texts) -> list[Shelf]:
    """Arrange what was requested for a member, with what became of it, without what they may not see by now."""
    rows = read_requests(connection, [viewer.user_id])
    allowed = allowed_works(connection, viewer, settings, [row.work_id for row in rows])
    cards = [
        Card(0, row.work_id, row.title, None, [f"{_.day(today_of(row.requested_at, settings))}: {state}"], {})
        for row in rows
        if row.work_id in allowed and (state := _(STATES[row.state]))
    ]
    return [Shelf(marked("Requested"), cards, ())] if cards else []


def _suitable(connection: Connection, viewer: User, settings: Settings, works: Sequence[int]) -> set[int]:
    """Return which works that were suggested to somebody a member may see."""
    titles = read_pool_titles(connection, works)
    return {one.work_id for one in titles if why_forbidden(one, viewer, settings.country) is None}


def allowed_works(connection: Connection, viewer: User, settings: Settings, works: Sequence[int]) -> set[int]:
    """Return of which works, in the library or not, hidden or not, a member may read the names.

    Of what is in neither library nor pool any more nothing is known but its name, which is for those without limits.
    """
    statement = "SELECT work_id FROM present_titles WHERE work_id = ANY(CAST(:works AS bigint[]))"
    here = set(execute(connection, statement, works=array_of(works)).scalars())
    pool = {one.work_id for one in read_pool_titles(connection, works)} - here
    has_limits = (
        viewer.max_parental_rating is not None or viewer.visibility.blocked_tags or viewer.visibility.allowed_tags
    )
    return (
        titles_in_sight(connection, viewer, here, with_hidden=True).keys()
        | _suitable(connection, viewer, settings, list(pool))
        | (set() if has_limits else set(works) - here - pool)
    )


def may_see_suggestion(connection: Connection, viewer: User, settings: Settings, work: int) -> bool:
    """Tell whether a title is one of the pool alone that a member may see, and does not want hidden."""
    statement = """
        SELECT EXISTS (SELECT 1 FROM hidden_works WHERE (user_id, work_id) = (:user, :work))
        OR EXISTS (SELECT 1 FROM present_titles WHERE work_id = :work)"""
    if work not in _suitable(connection, viewer, settings, [work]):
        return False
    return not read_value(connection, statement, user=viewer.user_id, work=work)


def _outside(
    connection: Connection, viewer: User, settings: Settings, now: datetime, work: int
) -> dict[str, Any] | None:
    """Return name, year and poster of a title that a member can find outside the library; None if they cannot.

    What they rated or requested is found no more, and they can still open its page; what they have hidden, they cannot.
    """
    if not may_see_suggestion(connection, viewer, settings, work):
        return None
    if not findable(connection, settings, viewer, now=now, works=[work], with_settled=True):
        return None
    return pool_names(connection, [work]).get(work)


def name_of(connection: Connection, viewer: User, settings: Settings, now: datetime, work: int) -> str | None:
    """Return what a title is called that a member can find, in the library or outside it; None for others."""
    found = titles_in_sight(connection, viewer, [work]).get(work)
    if found is not None:
        return found.title
    if not _suitable(connection, viewer, settings, [work]):
        return None
    kept = {row["work_id"]: row["title"] for row in titles_for_later(connection, viewer.user_id)}
    own = suggested_title(connection, viewer.user_id, work) or kept.get(work)
    return own or (_outside(connection, viewer, settings, now, work) or {}).get("title")


def one_title(
    connection: Connection, viewer: User, settings: Settings, now: datetime, _: Texts, work: int
) -> Page | None:
    """Return the page of a title; None if there is none that the member could find."""
    found = titles_in_sight(connection, viewer, [work]).get(work)
    if found is None:
        pages = (read(connection, viewer, settings, now, _) for read in (suggestions, for_later))
        cards = (card for page in pages for shelf in page.shelves for card in shelf.cards)
        card = next((card for card in cards if card.work == work), None)
        row = _outside(connection, viewer, settings, now, work) if card is None else None
        if row is not None:
            card = Card(0, work, row["title"], row["year"], (), row)
    else:
        rows = recommendation_table(connection, viewer.user_id, work_id=work)
        row = next(iter(_nameable(connection, viewer, settings, rows)), {})
        lines = [reason_of(row, _)] if row else []
        card = Card(0, work, found.title, found.year, lines, row, found.server_item_id)
    return None if card is None else Page(card.title, "", [Shelf("", [card])])


def own_ratings(connection: Connection, viewer: User, page: Page) -> dict[int, int]:
    """Return a member's ratings of the titles on a page, from 1 to 10."""
    works = [card.work for shelf in page.shelves for card in shelf.cards]
    found = ratings_in_force(connection, viewer.user_id, works=works)
    return {work: one.value for work, one in found.items() if one.value is not None}


def _nameable(connection: Connection, viewer: User, settings: Settings, rows: Sequence[Row]) -> list[Row]:
    """Leave out of the reasons what a member liked once and may not see by now."""
    allowed = allowed_works(connection, viewer, settings, list({work for row in rows for work in row["liked"]}))
    return [
        {**row, "because": [title for work, title in zip(row["liked"], row["because"], strict=True) if work in allowed]}
        for row in rows
    ]


def works_of(rows: Collection[Row]) -> list[int]:
    """Return the works of rows."""
    return [row["work_id"] for row in rows]


def cards_of(rows: Sequence[Row], visible: Mapping[int, VisibleTitle] | None, say: Say) -> list[Card]:
    """Number the titles of rows, without those that are not visible; None: they are not in the library."""
    if visible is None:
        return [
            Card(place, row["work_id"], row["title"], row["year"], say(row), row)
            for place, row in enumerate(rows, start=1)
        ]
    seen = [(row, visible[row["work_id"]]) for row in rows if row["work_id"] in visible]
    return [
        Card(place, title.work_id, title.title, title.year, say(row), row, title.server_item_id)
        for place, (row, title) in enumerate(seen, start=1)
    ]


def _by_type(rows: Sequence[Row], visible: Mapping[int, VisibleTitle] | None, say: Say) -> list[Shelf]:
    """Arrange films and series."""
    of_type = {one: [row for row in rows if row["media_type"] == one] for one in LABELS}
    shelves = [Shelf(LABELS[one], cards_of(found, visible, say)) for one, found in of_type.items()]
    return [shelf for shelf in shelves if shelf.cards]


def _in_view(shelves: Sequence[Shelf], most: Mapping[str, int]) -> list[Shelf]:
    """Leave out what waits to take the place of hidden titles; ``most`` has the length of each list, by heading."""
    reserves = {heading: length // RESERVE for heading, length in most.items()}
    return [one._replace(cards=one.cards[: most[one.heading] - reserves[one.heading]]) for one in shelves]


def _times(row: Row, settings: Settings, _: Texts) -> str:
    day = _.day(today_of(row["last"], settings))
    return _("Watched %(times)s times, last on %(day)s", times=_.number(row["times"]), day=day)


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


# What a member likes, in words, what they said of titles, and how their account on Trakt stands.


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
            Card(0, row["work_id"], row["title"], None, [day(row[when])], {}, has_page=False)
            for row in rows
            if row["work_id"] in allowed
        ]

    recent = recent_works(connection, user_id, RECENT)
    visible = titles_in_sight(connection, viewer, works_of(recent))
    shares = liked_genres(connection, [user_id])[user_id]
    hidden, wanted = dismissed_titles(connection, user_id), titles_to_follow(connection, user_id)
    excluded = choices_of(connection, user_id).excluded_genres
    shared = titles_watched_together(connection, user_id)
    allowed = allowed_works(connection, viewer, settings, works_of([*hidden, *wanted, *shared]))
    undo, show_again = ("/more-like-this/undo", marked("Undo")), ("/not-for-me/undo", marked("Show it again"))
    shelves = [
        Shelf(marked("Recently watched"), cards_of(recent, visible, lambda row: [day(row["played_at"])])),
        Shelf(marked("More like these"), said(wanted, "asked_at"), undo),
        Shelf(marked("Watched together"), said(shared, "watched_at"), ("/together/watched/undo", marked("Undo"))),
        Shelf(marked("Not for you"), said(hidden, "dismissed_at"), show_again),
    ]
    return Page(
        _("My taste"),
        _("Nothing was watched or said yet. “Not for me” below a title takes it off all of your lists."),
        [shelf for shelf in shelves if shelf.cards],
        [line for row in profile_table(connection, [user_id]) for line in _likes(row, _)],
        [(genre, round(100 * share)) for genre, share in list(shares.items())[:GENRES]],
        [(genre, genre in excluded) for genre in genres_to_choose(connection, excluded)],
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
    if account.state.name == "reconnect":
        return _("The connection to %(name)s on Trakt cannot be used any more. Connect again.", name=name), *CONNECT
    if account.state.name == "waiting":
        refused = _("Trakt refuses something for %(name)s: look there. It is tried again once a day.", name=name)
        return refused, *DISCONNECT
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
