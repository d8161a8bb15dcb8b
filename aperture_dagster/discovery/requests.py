"""Requests on Seerr for users: what would be sent, sending it once, and what became of it.

The note of a request is committed before the request is sent. If the process ends in between, the next one finds the
note and reads on Seerr whether the request arrived, before it sends anything.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Literal

from aperture_dagster.catalogue.people import User
from aperture_dagster.catalogue.references import MediaType
from aperture_dagster.discovery.seerr import (
    SEERR,
    RequestQuota,
    RequestRefused,
    Seerr,
    SeerrRequest,
    SeerrTitle,
    SeerrUser,
    WrongRequester,
    comparable_id,
)
from aperture_dagster.discovery.suggestions import (
    OPEN_STATES,
    StoredRequest,
    Wish,
    begin_request,
    read_request,
    requested_in_week,
    unsettled_requests,
    wishes,
    withdraw_request,
    write_request,
)
from aperture_dagster.discovery.suitability import unsuitable
from aperture_dagster.http.errors import (
    BadAnswer,
    Cancelled,
    NotFound,
    ServiceError,
    ServiceFailed,
    ServiceUnavailable,
)
from aperture_dagster.model import Clock, counted
from aperture_dagster.postgres.database import Database
from aperture_dagster.settings import Settings
from aperture_dagster.texts import ENGLISH, Texts, marked
from aperture_dagster.worklist.services import MeteredService

log = logging.getLogger(__name__)
# What prevents a request: of any title of this type, within a quota, or of this title.
ObstacleKind = Literal["permission", "quota", "title"]
NOUNS: dict[MediaType, str] = {"movie": marked("films"), "series": marked("seasons")}
STATES = {
    "sending": marked("not confirmed yet"),
    "pending": marked("waits for approval"),
    "approved": marked("approved"),
    "processing": marked("approved"),
    "declined": marked("declined"),
    "failed": marked("failed"),
    "completed": marked("completed"),
    "available": marked("available"),
    "refused": marked("refused"),
}
"""What states of requests, and of requested titles, are called."""


class NoSeerrUser(ServiceError):
    """Nobody on Seerr belongs to a user of the media server; requests are never sent as somebody else."""


@dataclass(frozen=True, slots=True)
class Obstacle:
    """Why a request should not be sent, as a sentence."""

    kind: ObstacleKind
    message: str


@dataclass(frozen=True, slots=True)
class PlannedRequest:
    """A request that could be sent: as whom, for what, and what would follow.

    ``seasons`` are the numbers of the seasons that would be requested, None for a film; ``all_seasons`` tells whether
    "all" is sent instead of their numbers. ``was_declined``: a request for it was declined, whoever made it.
    """

    account: SeerrUser
    wish: Wish
    seasons: tuple[int, ...] | None
    all_seasons: bool
    quota: RequestQuota
    was_declined: bool
    obstacle: Obstacle | None = None
    texts: Texts = field(default=ENGLISH, compare=False, repr=False)

    @property
    def count(self) -> int:
        """How much of the quota it takes."""
        return 1 if self.seasons is None else len(self.seasons)

    @property
    def season_text(self) -> str:
        """The seasons, for people."""
        if self.seasons is None:
            return ""
        _, numbers = self.texts, ", ".join(map(str, self.seasons))
        if not self.all_seasons:
            return numbers
        return _("all %(count)s without specials (%(numbers)s)", count=len(self.seasons), numbers=numbers)

    @property
    def quota_text(self) -> str:
        """What is left of the quota before this request, for people."""
        quota, _ = self.quota, self.texts
        if quota.limit is None:
            return _("no limit")
        left = {"remaining": quota.remaining, "limit": quota.limit, "what": _(NOUNS[self.wish.media_type])}
        if not quota.days:
            return _("%(remaining)s of %(limit)s %(what)s left", **left)
        return _("%(remaining)s of %(limit)s %(what)s left in %(days)s days", days=quota.days, **left)

    @property
    def approval_text(self) -> str:
        """What happens after it is sent, for people."""
        _ = self.texts
        if self.account.is_approved_at_once(self.wish.media_type):
            return _("approved at once, and the download starts")
        return _("waits on Seerr until somebody approves it")

    @property
    def facts(self) -> list[tuple[str, str]]:
        """What would be sent, and what would follow, for people."""
        _ = self.texts
        facts = [(_("seasons"), self.season_text)] if self.seasons is not None else []
        facts += [(_("quota"), self.quota_text), (_("approval"), self.approval_text)]
        return facts + [(_("note"), _("a request for it was declined before"))] * self.was_declined

    @property
    def digest(self) -> str:
        """A text that is another one as soon as anything has changed."""
        return hashlib.blake2b(repr(self).encode(), digest_size=12).hexdigest()


@dataclass(slots=True)
class RequestedBest:
    """What was done for a user: requests sent, and why there are not more."""

    sent: list[StoredRequest] = field(default_factory=list)
    reasons: list[str] = field(default_factory=list)
    changes: int = 0


@contextmanager
def open_desk(
    settings: Settings, database: Database, clock: Clock, *, patience_seconds: float
) -> Iterator[RequestDesk]:
    """Connect to Seerr, once nobody else uses it. Raises ServiceError if it is not configured, or stays in use."""
    with MeteredService(SEERR, settings, database, clock).open(patience_seconds=patience_seconds) as client:
        yield RequestDesk(client, database, clock)


class RequestDesk:
    """Requests through one connection to Seerr, which nobody else has meanwhile."""

    def __init__(self, client: Seerr, database: Database, clock: Clock) -> None:
        self._client, self._database, self._clock = client, database, clock

    @property
    def http_requests(self) -> int:
        """Requests to Seerr so far, also those that only read."""
        return self._client.requests

    @cached_property
    def _users(self) -> list[SeerrUser]:
        return self._client.users()

    def account_of(self, user: User) -> SeerrUser:
        """Find the user of Seerr that belongs to a user of the media server, and verify that requests act as them.

        Raises:
            NoSeerrUser: there is none, or more than one.
            ServiceRefused: requests would act as the owner.
        """
        wanted = comparable_id(user.user_id)
        found = [one for one in self._users if one.server_user_id == wanted]
        if len(found) == 1:
            self._client.verify_user(found[0].seerr_id)
            return found[0]
        if found:
            names = ", ".join(f"{one.name} ({one.seerr_id})" for one in found)
            raise NoSeerrUser(f"Several users of Seerr belong to {user.name}: {names}. Remove all but one on Seerr.")
        raise NoSeerrUser(
            f"{user.name} has no user on Seerr: let them sign in there once with their account of the media server, or "
            "import them on Seerr (Users, Import). Nothing is requested as somebody else."
        )

    def read_back(self, user: User) -> int:
        """Read what became of a user's open requests, also of one whose answer was never read; return the changes."""
        with self._database.transaction() as connection:
            requests = unsettled_requests(connection, [user.user_id], now=self._clock.now())
        changes = 0
        for request in requests:
            try:
                changes += self._resolve(request, user) if request.state == "sending" else self._read(request)
            except (NotFound, BadAnswer, RequestRefused, NoSeerrUser) as error:
                log.warning("%s of %s keeps its state: %s", request.title, user.name, error)
        return changes

    def plan(
        self, account: SeerrUser, wish: Wish, seasons: Sequence[int] | None = None, texts: Texts = ENGLISH
    ) -> PlannedRequest:
        """Ask Seerr about a title and the user's quota, and say what a request would be; sends nothing.

        Raises:
            NotFound: Seerr cannot look the title up on TMDb.
        """
        known = self._client.title(wish.media_type, wish.tmdb_id)
        chosen = None
        if wish.media_type == "series":
            chosen = tuple(season for season in known.open_seasons if seasons is None or season in seasons)
        planned = PlannedRequest(
            account,
            replace(wish, title=known.name) if known.name and wish.title.startswith("tmdb:") else wish,
            chosen,
            seasons is None and chosen == known.seasons,
            self._client.quota(account.seerr_id)[wish.media_type],
            any(request.status == "declined" for request in known.requests),
            texts=texts,
        )
        return replace(planned, obstacle=_obstacle(planned, known))

    def offer(
        self, user: User, wish: Wish, seasons: Sequence[int] | None = None, texts: Texts = ENGLISH
    ) -> PlannedRequest:
        """Plan a request that a person asks for, after reading what became of earlier ones; raises as :meth:`plan`.

        What it says is in the language of ``texts``.
        """
        account = self.account_of(user)
        self.read_back(user)
        with self._database.transaction() as connection:
            stored = read_request(connection, user.user_id, wish.work_id)
        planned, _ = self.plan(account, wish, seasons, texts), texts
        # Of a series, other seasons can be requested.
        if stored is None or wish.media_type != "movie" or stored.state not in OPEN_STATES:
            return planned
        told = {"title": stored.title, "day": _.day(stored.requested_at.date()), "state": _(STATES[stored.state])}
        message = _("%(title)s was requested on %(day)s already: %(state)s.", **told)
        if stored.state == "failed":
            message += " " + _("Retry it on Seerr.")
        return replace(planned, obstacle=Obstacle("title", message))

    def send(self, user: User, planned: PlannedRequest, *, per_week: int | None = None) -> StoredRequest | None:
        """Send a request once, and note what Seerr says; None if the user's week has no room for it.

        Raises:
            RequestRefused: Seerr created nothing.
            WrongRequester: Seerr created it as somebody else.
            ServiceUnavailable, BadAnswer: it is not known whether the request was created; the next run finds out.
        """
        wish, account = planned.wish, planned.account
        with self._database.transaction() as connection:
            previous = read_request(connection, user.user_id, wish.work_id)
            note = StoredRequest(
                user.user_id,
                wish.work_id,
                wish.media_type,
                wish.tmdb_id,
                wish.title,
                "sending",
                self._clock.now(),
                # An older request for the title, so that it is not taken for this one.
                request_id=previous.request_id if previous else None,
                seasons=None if planned.seasons is None else len(planned.seasons),
            )
            if not begin_request(connection, note, per_week=per_week):
                return None
        seasons = None if planned.all_seasons else planned.seasons
        try:
            made = self._client.request(account.seerr_id, wish.media_type, wish.tmdb_id, seasons=seasons)
        except RequestRefused as refusal:
            # One because of the user says nothing about the title, and an earlier request says more.
            is_known = previous is not None and (previous.request_id is not None or previous.state == "declined")
            if is_known or refusal.reason in ("permission", "quota", "other"):
                self._withdraw(note, previous)
            else:
                self._write(replace(note, state="refused", read_at=self._clock.now(), detail=_cut(refusal)))
            raise
        except (ServiceUnavailable, BadAnswer, Cancelled) as error:
            # An answer was read, if only one that makes no sense: the same request would get it again.
            is_answered = isinstance(error, (ServiceFailed, BadAnswer))
            self._write(replace(note, read_at=self._clock.now() if is_answered else None, detail=_cut(error)))
            raise
        except WrongRequester as error:
            self._adopt(note, error.request, detail=_cut(error))
            raise
        except ServiceError:
            self._withdraw(note, previous)
            raise
        return self._adopt(note, made)

    def request_best(self, user: User, settings: Settings) -> RequestedBest:
        """Read back a user's open requests, then request their best suggestions, as far as the week has room.

        Only what nobody requested before, and what suits the user now.

        Raises:
            RequestRefused: Seerr refused for a reason that is not known.
            ServiceError: see :meth:`send`.
        """
        result = RequestedBest()
        try:
            account = self.account_of(user)
        except NoSeerrUser as error:
            result.reasons.append(str(error))
            return result
        result.changes = self.read_back(user)
        now, per_week = self._clock.now(), settings.requests_per_week
        with self._database.transaction() as connection:
            room = per_week - requested_in_week(connection, user.user_id, now=now)
            wanted = wishes(connection, user.user_id, now=now)
            works = [one.work_id for one in wanted]
            why_not = unsuitable(connection, settings, [user], now=now, works=works)[user.user_id]
        closed: set[MediaType] = set()
        for wish in wanted:
            if len(result.sent) >= room:
                result.reasons.append(f"This week's limit of {counted(per_week, 'requests')} has been reached.")
                break
            if wish.work_id in why_not:
                result.reasons.append(f"{wish.title}: {why_not[wish.work_id]}.")
            elif wish.media_type not in closed:
                self._request_one(user, account, wish, per_week, result, closed)
        return result

    def _request_one(
        self,
        user: User,
        account: SeerrUser,
        wish: Wish,
        per_week: int,
        result: RequestedBest,
        closed: set[MediaType],
    ) -> None:
        """Request a title, or note why not; media types of which the user may request no more are ``closed``."""
        try:
            planned = self.plan(account, wish)
            obstacle = planned.obstacle
            if obstacle is None and planned.was_declined:
                # A person may ask again.
                obstacle = Obstacle("title", f"A request for {wish.title} was declined on Seerr.")
            if obstacle is None:
                sent = self.send(user, planned, per_week=per_week)
                if sent is None:
                    # Another process has used the rest of the week meanwhile.
                    closed.update(NOUNS)
                    return
                result.sent.append(sent)
                result.changes += 1
                return
            result.reasons.append(obstacle.message)
            # A shorter series may still fit into what is left of the quota.
            is_closed = obstacle.kind == "permission" or not planned.quota.allows(1)
        except NotFound as error:
            result.reasons.append(f"{wish.title}: {error}.")
            return
        except RequestRefused as refusal:
            if refusal.reason == "other":
                raise
            result.reasons.append(f"{wish.title}: {refusal}")
            is_closed = refusal.reason in ("permission", "quota")
        if is_closed:
            closed.add(wish.media_type)

    def _resolve(self, request: StoredRequest, user: User) -> int:
        """Find out whether a request whose answer is not known was created."""
        seerr_id = self.account_of(user).seerr_id
        known = self._client.title(request.media_type, request.tmdb_id)
        later = [one for one in known.requests if one.request_id > (request.request_id or 0)]
        own = [one for one in later if one.seerr_user_id == seerr_id]
        if own:
            log.info("%s had been requested; the answer is read now.", request.title)
            self._adopt(request, own[-1])
        elif request.request_id is not None:
            # Only the older request exists, so its state is what there is.
            return self._read(replace(request, detail=None))
        elif request.read_at is not None:
            self._write(replace(request, state="refused", read_at=self._clock.now()))
        else:
            log.info("%s had not been requested: nothing arrived on Seerr.", request.title)
            self._withdraw(request, None)
        return 1

    def _read(self, request: StoredRequest) -> int:
        if request.request_id is None:
            return 0
        try:
            found = self._client.read_request(request.request_id)
        except NotFound:
            if request.state == "declined":
                return 0
            deleted = "The request was deleted on Seerr"
            # Seerr deletes a request that it cannot send to Sonarr, and says so to nobody.
            deleted += ", or by Seerr because TheTVDB lacks the series" * (request.media_type == "series") + "."
            return self._write(replace(request, state="declined", read_at=self._clock.now(), detail=deleted))
        if state_of(found) == request.state:
            return 0
        self._adopt(request, found)
        return 1

    def _adopt(self, request: StoredRequest, found: SeerrRequest, *, detail: str | None = None) -> StoredRequest:
        adopted = replace(
            request,
            request_id=found.request_id,
            state=state_of(found),
            seasons=len(found.seasons) or request.seasons,
            read_at=self._clock.now(),
            detail=detail,
        )
        self._write(adopted)
        return adopted

    def _write(self, request: StoredRequest) -> int:
        with self._database.transaction() as connection:
            return write_request(connection, request)

    def _withdraw(self, request: StoredRequest, previous: StoredRequest | None) -> None:
        with self._database.transaction() as connection:
            withdraw_request(connection, request, previous)


def state_of(request: SeerrRequest) -> str:
    """Return the state of a request: that of what was requested, once it is available."""
    return "available" if request.status != "declined" and request.media_status == "available" else request.status


def _obstacle(planned: PlannedRequest, known: SeerrTitle) -> Obstacle | None:
    title, media_type, account, _ = planned.wish.title, planned.wish.media_type, planned.account, planned.texts
    if not account.may_request(media_type):
        if media_type == "movie":
            return Obstacle("permission", _("%(name)s may not request films on Seerr.", name=account.name))
        return Obstacle("permission", _("%(name)s may not request series on Seerr.", name=account.name))
    if known.status == "blocklisted":
        return Obstacle("title", _("%(title)s is on Seerr's blocklist.", title=title))
    if known.status == "available":
        return Obstacle("title", _("%(title)s is available already, as Seerr says.", title=title))
    open_requests = [request for request in known.requests if request.status not in ("declined", "completed")]
    if media_type == "movie" and (open_requests or known.status in ("pending", "processing")):
        state = _(STATES[open_requests[-1].status if open_requests else known.status])
        return Obstacle(
            "title", _("%(title)s has been requested on Seerr already (%(state)s).", title=title, state=state)
        )
    if media_type == "series" and not planned.seasons:
        return Obstacle("title", _("No season of %(title)s is left to request.", title=title))
    if not planned.quota.allows(planned.count):
        told = {"name": account.name, "quota": planned.quota_text, "count": planned.count}
        if planned.count == 1:
            return Obstacle("quota", _("%(name)s's quota on Seerr: %(quota)s.", **told))
        return Obstacle("quota", _("%(name)s's quota on Seerr: %(quota)s, and %(count)s are needed.", **told))
    return None


def _cut(error: Exception | str) -> str:
    return str(error)[:300]
