"""Requests on Seerr for users: what would be sent, sending it once, and what became of it.

The note of a request is committed before the request is sent. If the process ends in between, the next one finds the
note and reads on Seerr whether the request arrived, before it sends anything.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

from aperture_dagster.library.people import User
from aperture_dagster.library.references import MediaType
from aperture_dagster.resources.clock import Clock
from aperture_dagster.resources.database import Database
from aperture_dagster.resources.errors import (
    BadAnswer,
    Cancelled,
    NotFound,
    ServiceError,
    ServiceFailed,
    ServiceUnavailable,
)
from aperture_dagster.resources.seerr import (
    RequestQuota,
    RequestRefused,
    Seerr,
    SeerrRequest,
    SeerrTitle,
    SeerrUser,
    WrongRequester,
    comparable_id,
)
from aperture_dagster.storage.requests import (
    MISATTRIBUTED,
    StoredRequest,
    begin_request,
    read_request,
    read_requests,
    unsettled_requests,
    withdraw_request,
    write_request,
)

log = logging.getLogger(__name__)
# What prevents a request: of any title, of any title of this type, or of this title.
ObstacleKind = Literal["permission", "quota", "title"]
NOUNS: dict[MediaType, str] = {"movie": "films", "series": "seasons"}


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
    work_id: int
    media_type: MediaType
    tmdb_id: int
    title: str
    seasons: tuple[int, ...] | None
    all_seasons: bool
    quota: RequestQuota
    was_declined: bool
    obstacle: Obstacle | None

    @property
    def count(self) -> int:
        """How much of the quota it takes."""
        return 1 if self.seasons is None else len(self.seasons)

    @property
    def season_text(self) -> str:
        """The seasons, for people."""
        if self.seasons is None:
            return ""
        numbers = ", ".join(map(str, self.seasons))
        return f"all {len(self.seasons)} without specials ({numbers})" if self.all_seasons else numbers

    @property
    def quota_text(self) -> str:
        """What is left of the quota before this request, for people."""
        quota = self.quota
        if quota.limit is None:
            return "no limit"
        days = f" in {quota.days} days" if quota.days else ""
        return f"{quota.remaining} of {quota.limit} {NOUNS[self.media_type]} left{days}"

    @property
    def approval_text(self) -> str:
        """What happens after it is sent, for people."""
        if self.account.is_approved_at_once(self.media_type):
            return "approved at once, and the download starts"
        return "waits on Seerr until somebody approves it"


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
        """Find the user of Seerr that belongs to a user of the media server.

        Raises:
            NoSeerrUser: there is none, or more than one.
        """
        wanted = comparable_id(user.user_id)
        found = [one for one in self._users if one.server_user_id == wanted]
        if len(found) == 1:
            return found[0]
        if found:
            names = ", ".join(f"{one.name} ({one.seerr_id})" for one in found)
            raise NoSeerrUser(f"Several users of Seerr belong to {user.name}: {names}. Remove all but one on Seerr.")
        raise NoSeerrUser(
            f"{user.name} has no user on Seerr: let them sign in there once with their account of the media server, or "
            "import them on Seerr (Users, Import). Nothing is requested as somebody else."
        )

    def read_back(self, user: User, account: SeerrUser) -> int:
        """Read what became of a user's open requests, also of one whose answer was never read; return the changes."""
        with self._database.transaction() as connection:
            requests = unsettled_requests(connection, user.user_id, now=self._clock.now())
        changes = 0
        for request in requests:
            try:
                changes += (
                    self._resolve(request, account) if request.state == "sending" else self._read(request, account)
                )
            except (NotFound, BadAnswer, RequestRefused) as error:
                log.warning("%s of %s keeps its state: %s", request.title, user.name, error)
        return changes

    def misattributed(self) -> str | None:
        """Say which requests were made as somebody else, and what to do; None if there are none, or none any more.

        One that was deleted on Seerr, or given to the right user there, is settled.
        """
        with self._database.transaction() as connection:
            stored = read_requests(connection, states=[MISATTRIBUTED])
        left = [one for one in stored if not self._is_settled(one)]
        if not left:
            return None
        names = ", ".join(f"{one.title} (request {one.request_id})" for one in left)
        return (
            f"Seerr made requests as another user: {names}. Something between here and Seerr, such as a proxy, "
            "removes the header X-API-User: set APERTURE_SEERR_URL to Seerr's own address, and delete these "
            "requests on Seerr. Automatic requests go on once they are deleted."
        )

    def _is_settled(self, request: StoredRequest) -> bool:
        assert request.request_id is not None
        try:
            # As the owner, since the user may not see what is not theirs.
            found = self._client.read_request(request.request_id, None)
        except NotFound:
            self._write(
                replace(request, state="refused", read_at=self._clock.now(), detail="It was made as somebody else.")
            )
            return True
        except (BadAnswer, RequestRefused) as error:
            log.warning("%s keeps its state: %s", request.title, error)
            return False
        right = comparable_id(request.user_id)
        if found.seerr_user_id not in [one.seerr_id for one in self._users if one.server_user_id == right]:
            return False
        self._adopt(request, found)
        return True

    def plan(
        self,
        account: SeerrUser,
        work_id: int,
        media_type: MediaType,
        tmdb_id: int,
        title: str,
        *,
        seasons: Sequence[int] | None = None,
    ) -> PlannedRequest:
        """Ask Seerr about a title and the user's quota, and say what a request would be; sends nothing.

        Raises:
            NotFound: Seerr cannot look the title up on TMDb.
        """
        known = self._client.title(media_type, tmdb_id, account.seerr_id)
        quota = self._client.quota(account.seerr_id)[media_type]
        chosen = None
        if media_type == "series":
            chosen = tuple(one for one in known.open_seasons if seasons is None or one in seasons)
        planned = PlannedRequest(
            account,
            work_id,
            media_type,
            tmdb_id,
            title if not title.startswith("tmdb:") else known.name or title,
            chosen,
            seasons is None and chosen == known.seasons,
            quota,
            any(one.status == "declined" for one in known.requests),
            None,
        )
        return replace(planned, obstacle=_obstacle(planned, known))

    def send(
        self, user: User, planned: PlannedRequest, *, automatic: bool = False, per_week: int | None = None
    ) -> StoredRequest | None:
        """Send a request once, and note what Seerr says; None if the user's week has no room for it.

        Raises:
            RequestRefused: Seerr created nothing.
            ServiceUnavailable, BadAnswer: it is not known whether the request was created; the next run finds out.
        """
        with self._database.transaction() as connection:
            previous = read_request(connection, user.user_id, planned.work_id)
            note = StoredRequest(
                user.user_id,
                planned.work_id,
                planned.media_type,
                planned.tmdb_id,
                planned.title,
                "sending",
                automatic,
                self._clock.now(),
                # An older request for the title, so that it is not taken for this one.
                request_id=previous.request_id if previous else None,
                seasons=None if planned.seasons is None else len(planned.seasons),
            )
            if not begin_request(connection, note, per_week=per_week):
                return None
        seasons = None if planned.all_seasons else planned.seasons
        try:
            made = self._client.request(planned.account.seerr_id, planned.media_type, planned.tmdb_id, seasons=seasons)
        except RequestRefused as refusal:
            self._note_refusal(note, previous, refusal, planned.account)
            raise
        except (ServiceUnavailable, BadAnswer, Cancelled) as error:
            # An answer was read, if only one that makes no sense: the same request would get it again.
            is_answered = isinstance(error, (ServiceFailed, BadAnswer))
            self._write(replace(note, read_at=self._clock.now() if is_answered else None, detail=_cut(error)))
            raise
        except WrongRequester as error:
            self._write(
                replace(
                    note,
                    state=MISATTRIBUTED,
                    request_id=error.request_id,
                    read_at=self._clock.now(),
                    detail=_cut(error),
                )
            )
            raise
        except ServiceError:
            with self._database.transaction() as connection:
                withdraw_request(connection, note, previous)
            raise
        return self._adopt(note, made)

    def _note_refusal(
        self, note: StoredRequest, previous: StoredRequest | None, refusal: RequestRefused, account: SeerrUser
    ) -> None:
        """Note what Seerr refused because of the title, unless more is known of it: an earlier request, or its decline.

        A refusal because of the user says nothing about the title.
        """
        is_known = previous is not None and (previous.request_id is not None or previous.state == "declined")
        if is_known or refusal.reason in ("permission", "quota", "other"):
            with self._database.transaction() as connection:
                withdraw_request(connection, note, previous)
        else:
            self._write(replace(note, state="refused", read_at=self._clock.now(), detail=_cut(refusal)))

    def note_obstacle(self, user: User, planned: PlannedRequest, obstacle: Obstacle) -> None:
        """Note why the job did not request a suggestion, so that its next runs do not ask about it again."""
        now = self._clock.now()
        note = StoredRequest(
            user.user_id,
            planned.work_id,
            planned.media_type,
            planned.tmdb_id,
            planned.title,
            "declined" if planned.was_declined else "refused",
            is_automatic=True,
            requested_at=now,
            read_at=now,
            detail=_cut(obstacle.message),
        )
        with self._database.transaction() as connection:
            previous = read_request(connection, user.user_id, planned.work_id)
            if previous is None or previous.state == "refused":
                write_request(connection, note)

    def _resolve(self, request: StoredRequest, account: SeerrUser) -> int:
        """Find out whether a request whose answer is not known was created."""
        known = self._client.title(request.media_type, request.tmdb_id, account.seerr_id)
        own = _own_request(known, account, after=request.request_id)
        if own is not None:
            log.info("%s had been requested; the answer is read now.", request.title)
            self._adopt(request, own)
        elif request.request_id is not None:
            # Only the older request exists, so its state is what there is.
            return self._read(replace(request, detail=None), account)
        elif request.read_at is not None:
            self._write(replace(request, state="refused", read_at=self._clock.now()))
        else:
            log.info("%s had not been requested: nothing arrived on Seerr.", request.title)
            with self._database.transaction() as connection:
                withdraw_request(connection, request, None)
        return 1

    def _read(self, request: StoredRequest, account: SeerrUser) -> int:
        if request.request_id is None:
            return 0
        try:
            found = self._client.read_request(request.request_id, account.seerr_id)
        except NotFound:
            if request.state == "declined":
                return 0
            now = self._clock.now()
            return self._write(
                replace(request, state="declined", read_at=now, detail="The request was deleted on Seerr.")
            )
        if state_of(found) == request.state:
            return 0
        self._adopt(request, found)
        return 1

    def _adopt(self, request: StoredRequest, found: SeerrRequest) -> StoredRequest:
        adopted = replace(
            request,
            request_id=found.request_id,
            state=state_of(found),
            seasons=len(found.seasons) or request.seasons,
            read_at=self._clock.now(),
            detail=None,
        )
        self._write(adopted)
        return adopted

    def _write(self, request: StoredRequest) -> int:
        with self._database.transaction() as connection:
            return write_request(connection, request)


def state_of(request: SeerrRequest) -> str:
    """Return the state of a request: that of what was requested, once it is available."""
    return "available" if request.status != "declined" and request.media_status == "available" else request.status


def _own_request(known: SeerrTitle, account: SeerrUser, *, after: int | None) -> SeerrRequest | None:
    own = [one for one in known.requests if one.seerr_user_id == account.seerr_id and one.request_id > (after or 0)]
    return own[-1] if own else None


def _obstacle(planned: PlannedRequest, known: SeerrTitle) -> Obstacle | None:
    title, account = planned.title, planned.account
    if not account.may_request(planned.media_type):
        what = "films" if planned.media_type == "movie" else "series"
        return Obstacle("permission", f"{account.name} may not request {what} on Seerr.")
    if known.status == "blocklisted":
        return Obstacle("title", f"{title} is on Seerr's blocklist.")
    if known.status == "available":
        return Obstacle("title", f"{title} is available already, as Seerr says.")
    open_requests = [one for one in known.requests if one.status not in ("declined", "completed")]
    if planned.media_type == "movie" and (open_requests or known.status in ("pending", "processing")):
        state = open_requests[-1].status if open_requests else known.status
        return Obstacle("title", f"{title} has been requested on Seerr already ({state}).")
    if planned.media_type == "series" and not planned.seasons:
        return Obstacle("title", f"No season of {title} is left to request.")
    if not planned.quota.allows(planned.count):
        needed = "" if planned.count == 1 else f", and {planned.count} are needed"
        return Obstacle("quota", f"{account.name}'s quota on Seerr: {planned.quota_text}{needed}.")
    return None


def _cut(error: Exception | str) -> str:
    return str(error)[:300]
