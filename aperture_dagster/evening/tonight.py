"""The page of a member who wants something for tonight: the titles of their whole list that fit."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import Any

from sqlalchemy import Connection

from aperture_dagster.catalogue.people import User
from aperture_dagster.discovery.suitability import today_of
from aperture_dagster.evening.wishes import Wishes, parse_wishes
from aperture_dagster.members.choices import genres_to_choose
from aperture_dagster.members.visible_titles import VisibleTitle, titles_in_sight
from aperture_dagster.settings import Settings
from aperture_dagster.shelves import LABELS, Page, Row, Shelf, cards_of, for_you, recommended
from aperture_dagster.taste.whole_lists import facts_of, fitting_works
from aperture_dagster.texts import Texts, marked

SHOWN = 48
"""Titles of a media type."""
CHUNK = 200
NAMED_GENRES = 3
ODD = marked("Part of this address means nothing here, so it was ignored.")


@dataclass(frozen=True, slots=True)
class TonightPage(Page):
    """What fits tonight; ``wishes`` are what was asked for, and ``genres_here`` those that can be."""

    wishes: Wishes = field(default_factory=Wishes)
    genres_here: Sequence[str] = field(default_factory=tuple)


def tonight(
    connection: Connection,
    viewer: User,
    settings: Settings,
    now: datetime,
    _: Texts,
    asked: Iterable[tuple[str, str]] = (),
) -> TonightPage:
    """Return the titles of a member's whole list that fit what an address asks for, by its pairs of names and values.

    Titles that are on the list *For you* have their reasons here, too.
    """
    genres = genres_to_choose(connection)
    wishes, year = parse_wishes(asked, genres), today_of(now, settings).year
    first, last = wishes.years(year)
    fitting = partial(
        fitting_works, connection, viewer.user_id, longest=wishes.minutes, genres=wishes.genres, first_year=first,
        last_year=last,
    )  # fmt: skip
    # What they may like to watch again they have seen.
    usual = (
        Page("", "", recommended(connection, viewer, settings, now, _))
        if wishes.unseen
        else for_you(connection, viewer, settings, now, _)
    )
    reasons = {card.work: card.lines for card in usual.listed()}
    shelves: list[Shelf] = []
    for media_type in wishes.media_types:
        read = partial(fitting, media_type=media_type)
        own, visible = first_in_sight(connection, viewer, read, longest=wishes.minutes)
        if own:
            cards = cards_of(own, visible, lambda row: [*reasons.get(row["work_id"], ()), *facts_line(row, _)])
            shelves.append(Shelf(LABELS[media_type], cards))
    if not wishes.unseen:
        shelves += _again(connection, usual, wishes, year, _)
    nothing = _("Nothing of your list fits. Ask for less: another length, or more genres.")
    lines = [_(ODD)] * wishes.is_odd
    return TonightPage(_("For tonight"), nothing, shelves, lines, wishes=wishes, genres_here=genres)


def first_in_sight(
    connection: Connection, viewer: User, read: Callable[..., Sequence[Row]], *, longest: int | None = None
) -> tuple[list[Row], dict[int, VisibleTitle]]:
    """Return the first rows whose works a member may see now, and these works, however many come before them.

    ``read`` returns the first ``most`` rows, or all of them. Series get the length of :func:`facts_of`. ``longest``:
    without what is longer, or of a length that nobody knows.
    """
    shown: list[Row] = []
    visible: dict[int, VisibleTitle] = {}
    rows = read(most=CHUNK)
    is_all, start = len(rows) < CHUNK, 0
    while len(shown) < SHOWN and start < len(rows):
        visible |= titles_in_sight(connection, viewer, [row["work_id"] for row in rows[start : start + CHUNK]])
        chunk = [row for row in rows[start : start + CHUNK] if row["work_id"] in visible]
        facts = facts_of(connection, [row["work_id"] for row in chunk if row["media_type"] == "series"])
        timed = [{**row, "minutes": facts.get(row["work_id"], row)["minutes"]} for row in chunk]
        shown += [row for row in timed if longest is None or (row["minutes"] and row["minutes"] <= longest)]
        start += CHUNK
        if not is_all and len(shown) < SHOWN:
            rows, is_all = read(most=None), True
    return shown[:SHOWN], visible


def _again(connection: Connection, usual: Page, wishes: Wishes, year: int, _: Texts) -> list[Shelf]:
    """Return what a member may like to watch again, and fits."""
    again = [shelf for shelf in usual.shelves if shelf.heading not in LABELS.values()]
    facts = facts_of(connection, [card.work for shelf in again for card in shelf.cards])

    def fits(work: int) -> bool:
        row = facts.get(work)
        return row is not None and wishes.allow(row["media_type"], row["minutes"], row["genres"], row["year"], year)

    kept = [shelf._replace(cards=[card for card in shelf.cards if fits(card.work)]) for shelf in again]
    return [shelf for shelf in kept if shelf.cards]


def facts_line(row: Mapping[str, Any], _: Texts) -> list[str]:
    """Say how long a title is, and of which genres, in a line; none if neither is known."""
    minutes, genres = row["minutes"], list(row["genres"] or ())[:NAMED_GENRES]
    parts = [_("%(minutes)s min", minutes=_.number(minutes))] if minutes else []
    parts += [", ".join(genres)] if genres else []
    return [" · ".join(parts)] if parts else []
