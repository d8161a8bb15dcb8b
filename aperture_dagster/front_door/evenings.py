"""The pages of an evening with votes: a member opens it, and whoever has its link votes on a phone, without a sign-in.

The link shows the titles of its evening, and nothing else. It is no secret of anybody's account.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import partial

import segno
from sqlalchemy import Connection
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from aperture_dagster.evening.company import parse_company, picks_for, who_may_be_here
from aperture_dagster.evening.votes import (
    LIFE,
    MOST_TITLES,
    Evening,
    end_evening,
    find_evening,
    has_joined,
    join,
    open_evening,
    open_evenings,
    standing,
    titles_of,
    vote,
)
from aperture_dagster.front_door.house import TOO_OFTEN, TOO_OLD, House, Visit
from aperture_dagster.front_door.pictures import show_item
from aperture_dagster.members.digests import digest_of
from aperture_dagster.settings.types import is_loopback
from aperture_dagster.texts import marked

COOKIE, FORM = "aperture_evening", "aperture_evening_form"
SECONDS = int(LIFE.total_seconds())
VOTING_REFRESH, WAITING_REFRESH = 20, 5
OVER = marked("This evening is over, or there never was one at this address. Ask for a new link.")
NOTHING = marked("Nothing suits all of you, so there is nothing to vote on. Try it without somebody.")
FULL = marked("All phones that were expected vote already. You can look on here.")
LONGEST_CODE = 64
MOST_LIKED = 3
BORDER = 4
"""Modules around a QR code that scanners need."""


def routes(house: House) -> Sequence[BaseRoute]:
    """Return the routes."""
    return [
        house.members_form("/evening", begin),
        house.page("/evening/{code}", show),
        house.form("/evening/{code}/join", take_part),
        house.form("/evening/{code}/vote", say),
        house.members_form("/evening/{code}/end", end),
        Route("/evening/{code}/pictures/{item}", partial(show_item, house, "poster", may_see=_may_see)),
    ]


def begin(visit: Visit) -> Response:
    """Open an evening for those who are here, and lead to its page."""
    now, pairs = visit.house.clock.now(), [("with", key) for key in visit.form.get("with", "").split()]
    with visit.house.written.transaction() as connection:
        others = who_may_be_here(connection, visit.member, visit.settings)
        pairs += [(name, visit.form.get(name, "")) for name in ("guest", "seen")]
        company = parse_company(visit.member, others, pairs)
        found = [pick for picks, _ in picks_for(connection, company, MOST_TITLES).values() for pick in picks]
        found.sort(key=lambda pick: (-pick.score, pick.work_id))
        if not found:
            raise HTTPException(404, NOTHING)
        places = visit.number("places") or len(company.people)
        works = [pick.work_id for pick in found[:MOST_TITLES]]
        code = open_evening(
            connection, visit.member, company, works, places, now=now, code_of=partial(code_of, visit.house)
        )
    return visit.back(f"{visit.house.prefix}/evening/{code}")


def code_of(house: House, evening_id: int, created_at: datetime) -> str:
    """Return the code in the link of an evening. It is not stored, so that nobody finds it in a backup."""
    return house.gate.sessions.code("evening", evening_id, created_at.astimezone(UTC).isoformat())


def ways_back(house: House, connection: Connection, user_id: str) -> list[tuple[str, str | None]]:
    """Return the paths of the open evenings that a member is at, with the name of who opened it; None: they did.

    An evening whose link was made with an earlier key of this installation is left out.
    """
    found: list[tuple[str, str | None]] = []
    for evening in open_evenings(connection, user_id, now=house.clock.now()):
        code = code_of(house, evening.evening_id, evening.created_at)
        if digest_of(code) == evening.digest:
            found.append((f"/evening/{code}", None if evening.host == user_id else evening.host_name))
    return found


def end(visit: Visit) -> Response:
    """End an evening that a member opened; what has ended already stays so."""
    with visit.house.written.transaction() as connection:
        end_evening(connection, visit.request.path_params["code"], visit.member.user_id)
    return visit.back(f"{visit.house.prefix}/together")


def show(visit: Visit) -> Response:
    """Show an evening: its link, the next title to judge, or what all like."""
    house, _ = visit.house, visit.texts
    with house.database.connection() as connection:
        evening = _evening(connection, visit)
        titles, voter = titles_of(connection, evening), _voter(visit)
        votes = has_joined(connection, evening, voter)
        now = standing(connection, evening, voter, titles)
    left, code = list(now.left) if votes else [], visit.request.path_params["code"]
    address, values = _address(visit), {"joined": evening.joined, "places": evening.places}
    winner = titles[now.winner] if now.winner is not None else None
    # Whoever opened it can say for those who are there that they watched it.
    is_host = visit.visitor is not None and visit.visitor.user_id == evening.host
    keys = " ".join(user.partition_key for user in evening.company.people[1:])
    return visit.render(
        "evening.html",
        heading=_("What shall we watch?"),
        code=code,
        address=address,
        is_local=is_loopback(visit.request.url.hostname or ""),
        square=_square(address),
        winner=winner,
        votes=votes,
        is_full=evening.joined >= evening.places,
        title=titles[left[0]] if left and winner is None else None,
        left=_.plural("%(count)s title is left to judge.", "%(count)s titles are left to judge.", len(left)),
        most_liked=[
            (titles[work].title, _.plural("%(count)s vote", "%(count)s votes", number))
            for work, number in (now.most_liked[:MOST_LIKED] if votes else ())
        ],
        # What belongs in the form of this phone, and, before it votes, of this page.
        form=house.gate.sessions.sign(FORM, voter if votes else code),
        csrf=house.gate.csrf(visit.request) if is_host else "",
        keys=keys,
        is_member=visit.visitor is not None,
        refresh=0 if winner else VOTING_REFRESH if left else WAITING_REFRESH,
        **values,
    )


def take_part(visit: Visit) -> Response:
    """Let a phone vote, if a place is left; it remembers that by a cookie that says nothing of whose it is."""
    if visit.house.gate.sessions.signed(FORM, visit.csrf, SECONDS) != [visit.request.path_params["code"]]:
        raise HTTPException(403, TOO_OLD)
    with visit.house.written.transaction() as connection:
        evening, voter = _evening(connection, visit), _voter(visit)
        if has_joined(connection, evening, voter):
            return visit.back(_path(visit))
        voter = secrets.token_urlsafe(16)
        if not join(connection, evening, voter):
            raise HTTPException(409, FULL)
    answer = visit.back(_path(visit))
    answer.set_cookie(
        COOKIE, visit.house.gate.sessions.sign(COOKIE, voter), max_age=SECONDS, path=f"{visit.house.prefix}/evening",
        secure=visit.is_encrypted, httponly=True, samesite="strict",
    )  # fmt: skip
    return answer


def say(visit: Visit) -> Response:
    """Note what a phone says of a title."""
    voter = _voter(visit)
    signed = visit.house.gate.sessions.signed(FORM, visit.csrf, SECONDS)
    if voter is None or signed != [voter]:
        raise HTTPException(403, TOO_OLD)
    if visit.form.get("likes") not in ("yes", "no"):
        raise HTTPException(400, TOO_OLD)
    with visit.house.written.transaction() as connection:
        evening = _evening(connection, visit)
        titles, now = titles_of(connection, evening), visit.house.clock.now()
        vote(connection, evening, voter, visit.work, likes=visit.form["likes"] == "yes", allowed=titles, now=now)
    return visit.back(_path(visit))


def _evening(connection: Connection, visit: Visit) -> Evening:
    """Return the evening of the code in the address. Raises HTTPException 404, or 429 after too many wrong codes."""
    code = visit.request.path_params["code"]
    is_code = len(code) <= LONGEST_CODE and code.isascii() and code.isprintable()
    evening = find_evening(connection, code, now=visit.house.clock.now()) if is_code else None
    if evening is None:
        if not visit.house.throttle.take("evenings", visit.address):
            raise HTTPException(429, TOO_OFTEN)
        raise HTTPException(410, OVER)
    return evening


def _voter(visit: Visit) -> str | None:
    """Return the token in the cookie of a phone; None if it has none of ours."""
    found = visit.house.gate.sessions.signed(COOKIE, visit.request.cookies.get(COOKIE), SECONDS)
    return str(found[0]) if found else None


def _path(visit: Visit) -> str:
    return f"{visit.house.prefix}/evening/{visit.request.path_params['code']}"


def _address(visit: Visit) -> str:
    """Return the address for others: the name by which the visitor reached this machine serves them, too."""
    url = visit.request.url
    return f"{'https' if visit.is_encrypted else 'http'}://{url.netloc}{_path(visit)}"


def _square(address: str) -> tuple[int, str]:
    """Return the QR code of an address: its width in modules with the border, and the dark ones as a path of SVG."""
    rows = list(segno.make(address, error="m").matrix_iter(border=BORDER))
    dark = ((x, y) for y, row in enumerate(rows) for x, is_dark in enumerate(row) if is_dark)
    return len(rows), "".join(f"M{x} {y}h1v1h-1z" for x, y in dark)


def _may_see(item: str, visit: Visit) -> bool:
    """Tell whether an item is one of the titles of the evening in the address."""
    with visit.house.database.connection() as connection:
        evening = _evening(connection, visit)
        return any(title.server_item_id == item for title in titles_of(connection, evening).values())
