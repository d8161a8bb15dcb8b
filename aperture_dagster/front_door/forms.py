"""What members do on their pages: change what is theirs, request titles through Seerr, and connect Trakt."""

from __future__ import annotations

import functools
import hmac
import logging
from collections.abc import Callable, Mapping, Sequence

from sqlalchemy import Connection
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.routing import BaseRoute

from aperture_dagster.discovery.requests import NoSeerrUser, open_desk
from aperture_dagster.discovery.seerr import RequestRefused, why_not_configured
from aperture_dagster.discovery.suggestions import dismiss_title, undo_dismissal, wish_for
from aperture_dagster.evening.company import parse_company, who_may_be_here
from aperture_dagster.evening.votes import end_evening
from aperture_dagster.front_door.choices import choose, exclude_genres, join_evenings, share_favourites
from aperture_dagster.front_door.house import TOO_OFTEN, Answer, House, Visit
from aperture_dagster.http.errors import ServiceError
from aperture_dagster.members.choices import end_letters as unsubscribe
from aperture_dagster.members.for_later import put_aside, take_off
from aperture_dagster.members.hidden import dismissed_titles
from aperture_dagster.members.more_like_this import want_more, want_no_more
from aperture_dagster.members.visible_titles import titles_in_sight
from aperture_dagster.members.watched_together import forget_watched, note_watched
from aperture_dagster.ratings.merge import HIGHEST, LOWEST
from aperture_dagster.ratings.outbox import rate_here
from aperture_dagster.shelves import CONNECT
from aperture_dagster.texts import marked
from aperture_dagster.trakt.accounts import TraktAccounts, why_off
from aperture_dagster.trakt.connecting import disconnect
from aperture_dagster.trakt.errors import AccountShared, SignInFailed

_LOG = logging.getLogger(__name__)
RATINGS = {"": None} | {str(step): step for step in range(LOWEST, HIGHEST + 1)}
# The job uses Seerr for seconds.
PATIENCE_SECONDS = 10.0
NO_ACCOUNT = marked("You have no account on Seerr yet: sign in there once with your account of the media server.")
CHANGED = marked("This has changed on Seerr meanwhile, so nothing was sent. Look again before you send it.")
SILENT = marked("Seerr gives no usable answer at the moment. What was sent, if anything, is below “Requested” later.")
NOT_YET = marked("Trakt has not seen the code yet. Enter it there, confirm it, wait a few seconds, and try again.")
SHARED = marked("Somebody else here uses this account on Trakt. Sign in there as yourself, and connect again.")
NOT_REVOKED = marked("You are disconnected here, but Trakt could not be told: end the access there (Connected Apps).")
TRAKT_SILENT = marked("Trakt cannot be used at the moment, and nothing was changed. Try again in a few minutes.")


def routes(house: House) -> Sequence[BaseRoute]:
    """Return the routes."""
    changes = {path: functools.partial(_change, change) for path, change in CHANGES.items()}
    forms = [house.members_form(path, answer) for path, answer in changes.items()]
    forms += [house.members_form(path, answer, house.services) for path, answer in SERVICES.items()]
    return [*forms, house.page("/unsubscribe/{key}", end_letters, "GET", "POST")]


def _change(change: Change, visit: Visit) -> Response:
    with visit.house.written.transaction() as connection:
        change(connection, visit)
    return visit.back()


def end_letters(visit: Visit) -> Response:
    """End somebody's letters, without a sign-in; a link alone does not, since programs for mail look at links.

    Nobody learns whether a key is one.
    """
    is_done, key = visit.request.method == "POST", visit.request.path_params["key"]
    if is_done and not visit.house.throttle.take("letters", visit.address):
        raise HTTPException(429, TOO_OFTEN)
    if is_done and key.isprintable():
        # The pages' own database has to be there first.
        with visit.house.database.connection(), visit.house.written.transaction() as connection:
            unsubscribe(connection, key)
    _ = visit.texts
    if is_done:
        text = _("You get no more letters. You can turn them on again under “My taste”.")
        return visit.step(_("No more letters"), text=text)
    return visit.step(_("No more letters"), button=_("I want no more letters"))


def hide(connection: Connection, visit: Visit) -> None:
    """Take a title off all lists of a member."""
    user_id = visit.member.user_id
    if all(row["work_id"] != visit.work for row in dismissed_titles(connection, user_id)):
        dismiss_title(connection, user_id, visit.work, visit.title(connection), now=visit.house.clock.now())


def show_again(connection: Connection, visit: Visit) -> None:
    """Take back that a title was hidden."""
    undo_dismissal(connection, visit.member.user_id, visit.work)


def rate(connection: Connection, visit: Visit) -> None:
    """Rate a title from 1 to 10, or take the rating back."""
    given = visit.form.get("rating", "?")
    if given not in RATINGS:
        raise HTTPException(400, marked("A rating is a whole number from 1 to 10."))
    visit.title(connection)
    rate_here(connection, visit.member.user_id, visit.work, RATINGS[given], now=visit.house.clock.now())


def follow(connection: Connection, visit: Visit) -> None:
    """Ask for more like a title."""
    title, now = visit.title(connection), visit.house.clock.now()
    want_more(connection, visit.member.user_id, visit.work, title, now=now)


def unfollow(connection: Connection, visit: Visit) -> None:
    """Take back that more like a title was asked for."""
    want_no_more(connection, visit.member.user_id, visit.work)


def keep(connection: Connection, visit: Visit) -> None:
    """Put a title aside for later."""
    title, now = visit.title(connection), visit.house.clock.now()
    put_aside(connection, visit.member.user_id, visit.work, title, now=now)


def drop(connection: Connection, visit: Visit) -> None:
    """Take a title off what was put aside."""
    take_off(connection, visit.member.user_id, visit.work)


def watched(connection: Connection, visit: Visit) -> None:
    """Note that a member watched a title, with those who are here, join, and may see it.

    What was found by votes ends the evening: its link says so from then on.
    """
    title, now = visit.title(connection), visit.house.clock.now()
    others = who_may_be_here(connection, visit.member, visit.settings)
    company = parse_company(visit.member, others, [("with", key) for key in visit.form.get("with", "").split()])
    there = [user.user_id for user in company.people if titles_in_sight(connection, user, [visit.work])]
    note_watched(connection, there, visit.work, title, now=now)
    if code := visit.form.get("evening"):
        end_evening(connection, code, visit.member.user_id)


def not_watched(connection: Connection, visit: Visit) -> None:
    """Take back for a member that they watched a title together with others."""
    forget_watched(connection, visit.member.user_id, visit.work)


def request_title(visit: Visit) -> Response:
    """Show what a request for a title would be, and send it once its member has seen just that."""
    if why_not_configured(visit.settings) is not None:
        raise HTTPException(404)
    with visit.house.written.transaction() as connection:
        title = visit.title(connection)
        wish = wish_for(connection, visit.work)
    if wish is None:
        raise HTTPException(404)
    problem, planned, seen, _ = "", None, visit.form.get("plan"), visit.texts
    database, clock = visit.house.written, visit.house.clock
    try:
        with open_desk(visit.settings, database, clock, patience_seconds=PATIENCE_SECONDS) as desk:
            planned = desk.offer(visit.member, wish, texts=_)
            if planned.obstacle is not None:
                problem = planned.obstacle.message
            elif seen is not None and hmac.compare_digest(seen.encode(), planned.digest.encode()):
                desk.send(visit.member, planned)
                return visit.back()
            elif seen is not None:
                problem = _(CHANGED)
    except NoSeerrUser:
        problem = _(NO_ACCOUNT)
    except RequestRefused as refusal:
        _LOG.warning("a request of %s was refused: %s", visit.member.name, refusal)
        problem, planned = refusal.said(_), None
    except ServiceError as error:
        _LOG.warning("a request of %s was not possible: %s", visit.member.name, error)
        problem, planned = _(SILENT), None
    heading = _("Request %(title)s", title=title)
    if planned is None or planned.obstacle is not None:
        return visit.step(heading, problem=problem)
    facts = [(_("title"), planned.wish.title), (_("as"), planned.account.name), *planned.facts]
    sends, what = ("plan", planned.digest), _("This is what will be sent to Seerr:")
    return visit.step(heading, problem=problem, text=what, facts=facts, button=_("Send the request"), sends=sends)


def connect_trakt(visit: Visit) -> Response:
    """Show a code for a member to confirm on Trakt, and connect them once they have."""
    if why_off(visit.settings) is not None:
        raise HTTPException(404)
    code, is_confirmed = None, "confirmed" in visit.form
    try:
        code = visit.house.connecting.step(_accounts(visit), visit.member.user_id, confirmed=is_confirmed)
        if code is None:
            return visit.back()
        problem = NOT_YET if is_confirmed else ""
    except SignInFailed as error:
        problem = str(error)
    except AccountShared:
        problem = SHARED
    except ServiceError as error:
        _LOG.warning("%s cannot be connected to Trakt: %s", visit.member.name, error)
        problem = TRAKT_SILENT
    _, heading, problem = visit.texts, visit.texts(CONNECT[1]), problem and visit.texts(problem)
    if code is None:
        return visit.step(heading, problem=problem, button=_("Show a code"))
    what = _(
        "Enter this code on Trakt, where you are signed in to your own account. Ratings are then kept in step both "
        "ways."
    )
    button, sends = _("I have entered it"), ("confirmed", "1")
    return visit.step(
        heading, problem=problem, text=what, link=code.link, code=code.user_code, button=button, sends=sends
    )


def disconnect_trakt(visit: Visit) -> Response:
    """Disconnect a member from Trakt; all ratings are kept."""
    try:
        if not disconnect(_accounts(visit), visit.member.user_id):
            return visit.step("Trakt", text=visit.texts(NOT_REVOKED))
    except ServiceError as error:
        _LOG.warning("%s cannot be disconnected from Trakt: %s", visit.member.name, error)
        return visit.step("Trakt", 503, text=visit.texts(TRAKT_SILENT))
    return visit.back()


def _accounts(visit: Visit) -> TraktAccounts:
    return TraktAccounts(visit.settings, visit.house.written, visit.house.clock)


Change = Callable[[Connection, Visit], None]
CHANGES: Mapping[str, Change] = {
    "/not-for-me": hide,
    "/not-for-me/undo": show_again,
    "/rate": rate,
    "/more-like-this": follow,
    "/more-like-this/undo": unfollow,
    "/for-later": keep,
    "/for-later/undo": drop,
    "/together/watched": watched,
    "/together/watched/undo": not_watched,
    "/choices": choose,
    "/together/join": join_evenings,
    "/year/favourites": share_favourites,
    "/genres": exclude_genres,
}
"""Paths of forms, each with what it changes."""
SERVICES: Mapping[str, Answer] = {
    "/request": request_title,
    "/trakt": connect_trakt,
    "/trakt/disconnect": disconnect_trakt,
}
"""Paths of forms that ask another service, each with what answers it."""
