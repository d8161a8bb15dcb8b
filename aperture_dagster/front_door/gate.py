"""Who is at the front door, by the cookie of a session and by what the media server says; and in which language."""

from __future__ import annotations

import hmac
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta

from starlette.exceptions import HTTPException
from starlette.requests import HTTPConnection

from aperture_dagster.catalogue.people import User
from aperture_dagster.catalogue.stored_users import find_user
from aperture_dagster.front_door.proxies import is_of_this_machine
from aperture_dagster.front_door.roster import FRESH, Roster
from aperture_dagster.front_door.secrets import OPERATOR, read_secret
from aperture_dagster.front_door.sessions import COOKIE, Sessions
from aperture_dagster.members.sessions import Session
from aperture_dagster.model import Clock, past
from aperture_dagster.postgres.database import NothingYet, ReadOnlyDatabase
from aperture_dagster.postgres.errors import DatabaseError
from aperture_dagster.settings import Settings
from aperture_dagster.texts import LANGUAGES, Texts, marked, preferred_language, texts_of

REMEMBERED = timedelta(seconds=10)
"""How long a session and its user are not read again: the operator's UI sends many requests."""
MOST_REMEMBERED = 1_000
OPERATOR_LIFE = timedelta(hours=12)
"""How long after a sign-in somebody operates, who then has to sign in again."""
RECENT = timedelta(minutes=10)
"""How long after a sign-in somebody changes what opens the house, who then has to enter the password again."""
OPERATOR_SILENCE = timedelta(minutes=10)
"""How long somebody operates although the media server does not say that they still may."""
LONGEST_SILENCE = timedelta(days=1)
"""How long a member gets in although the media server does not say that they still may: its nightly restart, or an
evening of repairs, locks nobody out from lists that are stored here."""
LANGUAGE_COOKIE = "aperture_language"
NO_OPERATOR = marked("The operator's pages are for administrators of the media server.")
AGAIN = marked("Sign in again for what only administrators may see.")
UNKNOWN = marked(
    "The media server has not said for a day whether you still have an account there. Try again once it answers."
)
UNKNOWN_OPERATOR = marked(
    "The media server has not said for 10 minutes whether you are still an administrator there. Try again once it "
    "answers, or sign in again."
)


@dataclass(frozen=True, slots=True)
class Visitor:
    """Somebody who may see pages.

    Attributes:
        user: None for a user whom no sync has read yet, and in a demo.
        is_administrator: as the media server says.
        operates: they may do what administrators may: they signed in within hours, and the media server has said
            lately that they are one.
        session: None in a demo.
    """

    user: User | None
    is_administrator: bool
    operates: bool
    session: Session | None = None

    @property
    def user_id(self) -> str | None:
        """The id of the user, if a sync has read them."""
        return self.user.user_id if self.user is not None else None

    @property
    def key(self) -> str | None:
        """The partition key of the user, if a sync has read them."""
        return self.user.partition_key if self.user is not None else None


EVERYBODY = Visitor(None, is_administrator=True, operates=True)


class Refused(HTTPException):
    """Somebody may not see something: 401, they have to sign in; 403, they lack a right; 503, it cannot be known."""


class Gate:
    """Recognises visitors.

    Who gets in is what the media server said last: at the sign-in, or since, when it was asked again. If its answer is
    old because it no longer responds, the users of the last sync count as well, and only for a limited time.

    Args:
        settings: where the secrets are, and whether there is a media server.
        database: sessions and users.
        is_open: everybody may see everything, as in a demo.
        clock: the time, of the pages behind it as well.
    """

    def __init__(
        self, settings: Settings, database: ReadOnlyDatabase, *, is_open: bool = False, clock: Clock | None = None
    ) -> None:
        self._settings, self._database, self.is_open = settings, database, is_open
        self.clock = clock or Clock()
        self.sessions, self.roster = Sessions(settings, self.clock), Roster(settings, self.clock)
        self._remembered: dict[str, tuple[datetime, int, tuple[Session, User | None]]] = {}
        # Health checks read it, and do not make it.
        read_secret(settings, OPERATOR)

    def csrf(self, request: HTTPConnection) -> str:
        """Return what belongs in every form of whoever sent a request; empty without a cookie of ours."""
        return "" if self.is_open else self.sessions.csrf(request.cookies.get(COOKIE))

    def visitor(self, request: HTTPConnection) -> Visitor | None:
        """Return who sent a request; None if they have to sign in.

        Raises:
            DatabaseError: sessions and users cannot be read.
            Refused: the media server has not answered for so long that it is not known whether they may come in.
        """
        if self.is_open:
            return EVERYBODY
        token = self.sessions.token(request.cookies.get(COOKIE))
        found = self._look_up(token) if token is not None else None
        return None if found is None else self._recognise(*found)

    def _look_up(self, token: str) -> tuple[Session, User | None] | None:
        """Return the session of a token, and its user: as read seconds ago, unless a session has changed since."""
        now, changes = self.clock.now(), self.sessions.changes
        read_at, changes_before, found = self._remembered.get(token, (now, -1, None))
        if changes_before == changes and timedelta() <= now - read_at < REMEMBERED:
            return found
        try:
            with self._database.connection() as connection:
                session = self.sessions.find(connection, token)
                user = find_user(connection, session.user_id) if session is not None else None
        except NothingYet:
            return None
        if session is None:
            self._remembered.pop(token, None)
            return None
        if len(self._remembered) >= MOST_REMEMBERED:
            self._remembered.clear()
        self._remembered[token] = (now, changes, (session, user))
        return session, user

    def _recognise(self, session: Session, user: User | None) -> Visitor | None:
        answer, now = self.roster.answer(session.confirmed_at), self.clock.now()
        confirmed_at, is_administrator = past(session.confirmed_at, now) or session.created_at, session.is_administrator
        if answer is not None and answer.asked_at > confirmed_at:
            if answer.is_out(session.user_id):
                return None
            if session.user_id in answer.administrators:
                confirmed_at, is_administrator = answer.asked_at, answer.administrators[session.user_id]
        silence = now - confirmed_at
        if silence > FRESH and user is not None:
            if user.gone or user.is_disabled:
                return None
            is_administrator = is_administrator and user.is_administrator
        if silence > LONGEST_SILENCE:
            raise Refused(503, UNKNOWN)
        with suppress(DatabaseError):
            # A page does not fail because of it.
            self.sessions.note_use(session, confirmed_at)
        is_recent = now - session.created_at < OPERATOR_LIFE and silence <= OPERATOR_SILENCE
        return Visitor(user, is_administrator, is_administrator and is_recent, session)

    def is_out(self, user_id: str) -> bool:
        """Return whether the media server says that it no longer lets a user in."""
        answer = None if self.is_open else self.roster.answer()
        return answer is not None and answer.is_out(user_id)

    def admit_operator(self, request: HTTPConnection) -> None:
        """Let a request reach the operator's UI.

        Raises:
            Refused: it must not.
            DatabaseError: who sent it cannot be read.
        """
        if self.is_open or self._has_operators_key(request):
            return
        if self._settings.media_server_url is None:
            # There is nobody to ask who somebody is, and nothing to see yet, but for this machine itself.
            if not is_of_this_machine(request):
                raise Refused(403, NO_OPERATOR)
            return
        visitor = self.visitor(request)
        if visitor is None:
            raise Refused(401)
        if not visitor.is_administrator:
            raise Refused(403, NO_OPERATOR)
        if not visitor.operates:
            is_old = visitor.session is None or self.clock.now() - visitor.session.created_at >= OPERATOR_LIFE
            raise Refused(401, AGAIN) if is_old else Refused(503, UNKNOWN_OPERATOR)

    def has_just_signed_in(self, visitor: Visitor | None) -> bool:
        """Tell whether a visitor has entered their password within the last minutes."""
        if visitor is None or visitor.session is None:
            return False
        return timedelta() <= self.clock.now() - visitor.session.created_at < RECENT

    def _has_operators_key(self, request: HTTPConnection) -> bool:
        """Tell whether a program of this home, such as a health check, shows the key that lies there."""
        given = request.headers.get("authorization", "")
        if not given.startswith("Bearer "):
            return False
        return hmac.compare_digest(given[7:].encode(), read_secret(self._settings, OPERATOR).encode())


def texts_for(request: HTTPConnection) -> Texts:
    """Return the texts for whoever sent a request: in the language that they chose, or else that of their browser.

    The country, which dates depend on, is that of the browser.
    """
    chosen = request.cookies.get(LANGUAGE_COOKIE)
    among = [chosen] if chosen in LANGUAGES else LANGUAGES
    return texts_of(preferred_language(request.headers.get("accept-language", ""), among))
