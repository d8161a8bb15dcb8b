"""Whom the media server lets in at present: it is asked again every few minutes, while somebody uses pages."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from aperture_dagster.catalogue.server_users import has_left, ids_on_server, read_accounts
from aperture_dagster.http.errors import ServiceError
from aperture_dagster.media_server.records import ParsedPage, ServerUser
from aperture_dagster.members.sessions import note_answer
from aperture_dagster.model import Clock
from aperture_dagster.model.errors import OperatorError
from aperture_dagster.postgres.database import Database
from aperture_dagster.settings import Settings

_LOG = logging.getLogger(__name__)
ASK_AGAIN = timedelta(minutes=2)
"""Age of an answer from which on the next visit makes the server be asked again, without waiting."""
FRESH = timedelta(minutes=4)
"""Age of an answer from which on visitors wait for a new one. A minute more may pass until it is there."""
RETRY = timedelta(seconds=30)
"""How long a server that did not answer is not asked again."""
ANSWER_SECONDS = 5.0
PATIENCE_SECONDS = 1.0
"""How long a visitor waits for an answer. Pages do not depend on it: a server that hangs must not make them hang."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What the media server said about its users.

    Attributes:
        asked_at: when it was asked.
        administrators: the users whom it lets in by id, and whether they are administrators.
        page: all of it.
    """

    asked_at: datetime
    administrators: Mapping[str, bool]
    page: ParsedPage[ServerUser]

    def is_out(self, user_id: str) -> bool:
        """Tell whether a user was disabled or deleted; a list that is not whole proves nothing about who is missing."""
        if user_id in self.administrators:
            return False
        return any(user.user_id == user_id for user in self.page.records) or has_left(self.page, user_id)


class Roster:
    """Asks the media server about its users, one question at a time, and keeps the last answer.

    Nobody is asked while nobody is there: the questions follow from visits alone.

    Args:
        settings: where the server is.
        clock: the time.
    """

    def __init__(self, settings: Settings, clock: Clock) -> None:
        hasty = {"media_server_timeout_seconds": ANSWER_SECONDS, "http_attempts": 1}
        self._settings, self._clock = settings.model_copy(update=hasty), clock
        self._database = Database(settings)
        self._lock, self._began = threading.Lock(), 0.0
        self._answered: threading.Event | None = None
        self._failed_at: datetime | None = None
        self._answer: Answer | None = None

    def answer(self, confirmed_at: datetime | None = None) -> Answer | None:
        """Return the last answer; None if there is none.

        Args:
            confirmed_at: when the server was last known to let the visitor in.
        """
        age = min(self._age(confirmed_at), self._age(self._answer.asked_at if self._answer is not None else None))
        if age >= ASK_AGAIN and (answered := self._ask_soon()) is not None and age >= FRESH:
            answered.wait(PATIENCE_SECONDS - (time.monotonic() - self._began))
        return self._answer

    def _age(self, moment: datetime | None) -> timedelta:
        """Return how long ago something was; if the clock was ahead then, for ever."""
        age = timedelta.max if moment is None else self._clock.now() - moment
        return age if age >= timedelta() else timedelta.max

    def _ask_soon(self) -> threading.Event | None:
        """Ask, unless that is under way; return what is set at its end, and None if it is not time to ask."""
        with self._lock:
            if self._answered is None or self._answered.is_set():
                if self._settings.media_server_url is None or self._age(self._failed_at) < RETRY:
                    return None
                self._answered, self._began = threading.Event(), time.monotonic()
                arguments = (self._clock.now(), self._answered)
                # Nobody waits for it when the program ends.
                threading.Thread(target=self._ask, args=arguments, daemon=True).start()
            return self._answered

    def _ask(self, now: datetime, answered: threading.Event) -> None:
        try:
            self._apply(now, read_accounts(self._settings, self._database))
        except (ServiceError, OperatorError) as error:
            if self._failed_at is None:
                _LOG.warning("it cannot be looked up whom the media server lets in: %s", error)
            self._failed_at = self._clock.now()
        finally:
            answered.set()

    def _apply(self, now: datetime, page: ParsedPage[ServerUser]) -> None:
        let_in = {user.user_id: user.is_administrator for user in page.records if not user.is_disabled}
        self._failed_at, self._answer = None, Answer(now, let_in, page)
        disabled = [user.user_id for user in page.records if user.is_disabled]
        try:
            with self._database.transaction() as connection:
                note_answer(connection, let_in, disabled=disabled, there=ids_on_server(page), asked_at=now)
        except OperatorError as error:
            # The answer in memory counts meanwhile.
            _LOG.warning("an answer of the media server about its users is not stored: %s", error)
