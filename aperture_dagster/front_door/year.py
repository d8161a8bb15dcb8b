"""The page of what a member watched in a year, and a picture of it to share."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from io import BytesIO
from typing import Any, NamedTuple
from urllib.parse import urlencode
from zoneinfo import ZoneInfo

from PIL import Image, ImageDraw, ImageFont
from sqlalchemy import Connection
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.routing import BaseRoute

from aperture_dagster.front_door import sign_in
from aperture_dagster.front_door.house import House, Visit
from aperture_dagster.front_door.rendering import HEADERS, NO_STORE
from aperture_dagster.members.choices import who_shares_favourites
from aperture_dagster.members.visible_titles import titles_in_sight
from aperture_dagster.popularity.favourites import read_favourites
from aperture_dagster.popularity.year import Year, kept_since, read_plays, summarise, years_watched
from aperture_dagster.shelves import Card, Row, allowed_works, cards_of
from aperture_dagster.texts import Texts, marked

PATH = "/year/{year:int}"
MONTHS = (
    marked("January"), marked("February"), marked("March"), marked("April"), marked("May"), marked("June"),
    marked("July"), marked("August"), marked("September"), marked("October"), marked("November"), marked("December"),
)  # fmt: skip
SIZE = 1080
MOST_FAVOURITES = 12
_INK, _SOFT, _PAPER, _ACCENT = (241, 240, 247), (182, 180, 198), (21, 20, 29), (91, 79, 214)


class Looked(NamedTuple):
    """A year of a member, the years that they can look at, and the household's favourites that they may see."""

    number: int
    year: Year | None
    others: Sequence[int]
    since: date | None
    favourites: Sequence[Card]


def routes(house: House) -> Sequence[BaseRoute]:
    """Return the routes."""
    return [
        house.page("/year", latest),
        house.page(PATH, show),
        house.page(f"{PATH}/picture", picture),
    ]


def latest(visit: Visit) -> Response:
    """Lead to the year that it is."""
    return visit.back(f"{visit.house.prefix}/year/{_today(visit).year}")


def show(visit: Visit) -> Response:
    """Show a year of whoever visits, which is nobody else's to see."""
    if visit.visitor is None:
        return visit.back(visit.house.prefix + sign_in.address(visit.request.url.path))
    looked, _ = _look(visit), visit.texts
    said: dict[str, Any] = {
        "heading": _("Your year %(year)s", year=looked.number), "looked": looked,
        "title_query": urlencode({"from": visit.request.url.path}),
    }  # fmt: skip
    if looked.year is None:
        nothing = _("Nothing that you watched in this year is known.")
        return visit.render("year.html", **said, facts=(), months=(), nothing=nothing, since="")
    longest = max(month.hours for month in looked.year.months)
    months = [
        (_(MONTHS[month.number - 1]), _hours(month.hours, _), round(100 * month.hours / longest) if longest else 0,
         month.genre or "")
        for month in looked.year.months
    ]  # fmt: skip
    since = _("Counted from what was kept since %(day)s.", day=_.day(looked.since)) if looked.since else ""
    facts = facts_of(looked.year, _)
    return visit.render("year.html", **said, facts=facts, months=months, nothing="", since=since)


def picture(visit: Visit) -> Response:
    """Answer with a picture of a year, which names no title."""
    if visit.visitor is None:
        raise HTTPException(404)
    looked, _ = _look(visit), visit.texts
    if looked.year is None:
        raise HTTPException(404)
    drawn = draw(_("My year %(year)s", year=looked.number), _figures(looked.year, _))
    headers = {**HEADERS, **NO_STORE, "content-disposition": f'inline; filename="aperture-{looked.number}.png"'}
    return Response(drawn, headers=headers, media_type="image/png")


def _look(visit: Visit) -> Looked:
    member, zone = visit.member, ZoneInfo(visit.settings.schedule_timezone)
    number = visit.request.path_params["year"]
    if not 1900 < number <= _today(visit).year:
        raise HTTPException(404)
    with visit.house.database.connection() as connection:
        plays = read_plays(connection, member.user_id, number, zone)
        works = list({play.work_id for play in plays})
        nameable = allowed_works(connection, member, visit.settings, works)
        others = [year for year in years_watched(connection, member.user_id, zone) if year != number]
        since = kept_since(connection, member.user_id)
        favourites = favourites_for(connection, visit, number, zone)
    known_from = since.astimezone(zone).date() if since is not None else None
    return Looked(number, summarise(plays, nameable, zone), others, known_from, favourites)


def favourites_for(connection: Connection, visit: Visit, year: int, zone: ZoneInfo) -> list[Card]:
    """Return the household's favourites of a year, of those who agreed to be counted, that a member may see.

    Whether that member agreed does not matter. How high somebody rated a title is not said: of two people, each would
    know the other's rating from the mean.
    """
    agreed = who_shares_favourites(connection)
    counted = [user.user_id for user in visit.house.takes_part(connection) if user.user_id in agreed]
    found = read_favourites(connection, counted, year, zone, now=visit.house.clock.now())
    visible = titles_in_sight(connection, visit.member, [title.work_id for title in found])
    _ = visit.texts

    def say(row: Row) -> list[str]:
        return [_.plural("%(count)s of you liked it", "%(count)s of you liked it", row["people"])]

    return cards_of([title._asdict() for title in found], visible, say)[:MOST_FAVOURITES]


def _today(visit: Visit) -> date:
    return visit.house.clock.now().astimezone(ZoneInfo(visit.settings.schedule_timezone)).date()


def _hours(hours: float, _: Texts) -> str:
    return _.plural("%(count)s hour", "%(count)s hours", round(hours))


def _figures(year: Year, _: Texts) -> list[tuple[str, str]]:
    """Return the figures of a year, each with what it counts."""
    return [
        (_.number(round(year.hours)), _("hours")),
        (_.number(year.films), _("films")),
        (_.number(year.episodes), _("episodes")),
        (_.number(year.streak.days), _("days in a row")),
    ]


def facts_of(year: Year, _: Texts) -> list[tuple[str, str]]:
    """Return what there is to say of a year, with names."""
    streak = year.streak
    in_a_row = _.plural("%(count)s day", "%(count)s days in a row", streak.days)
    if streak.days > 1:
        first, last = _.day(streak.first), _.day(streak.last)
        in_a_row = _("%(days)s, from %(first)s to %(last)s", days=in_a_row, first=first, last=last)
    facts = [
        (_("Watched"), _hours(year.hours, _)),
        (_("Films"), _.number(year.films)),
        (_("Series"), _("%(series)s, with %(episodes)s episodes", series=_.number(year.series),
                        episodes=_.number(year.episodes)) if year.series else _.number(0)),
        (_("Days with something on"), _.number(year.days)),
        (_("Longest streak"), in_a_row),
    ]  # fmt: skip
    for name, named in ((_("The first"), year.first), (_("The last"), year.last)):
        if named is not None:
            facts.append((name, f"{named[0]} ({_.day(named[1])})"))
    if year.most is not None:
        facts.append((_("Series of the year"), f"{year.most[0]} ({_.number(year.most[1])})"))
    if year.again is not None:
        facts.append((_("Watched most often"), f"{year.again[0]} ({_.number(year.again[1])})"))
    return facts


def draw(heading: str, figures: Sequence[tuple[str, str]]) -> bytes:
    """Return a square PNG of a heading and four figures."""
    image = Image.new("RGB", (SIZE, SIZE), _PAPER)
    pen = ImageDraw.Draw(image)
    pen.rectangle((0, 0, SIZE, 24), fill=_ACCENT)
    pen.text((SIZE / 2, 170), heading, _INK, ImageFont.load_default(84), "mm")
    for place, (number, what) in enumerate(figures):
        x, y = SIZE * (1 + 2 * (place % 2)) / 4, 420 + 320 * (place // 2)
        pen.text((x, y), number, _INK, ImageFont.load_default(150), "mm")
        pen.text((x, y + 120), what, _SOFT, ImageFont.load_default(48), "mm")
    pen.text((SIZE / 2, SIZE - 60), "Aperture", _SOFT, ImageFont.load_default(40), "mm")
    written = BytesIO()
    image.save(written, "PNG")
    return written.getvalue()
