"""The job's requests: each user's best suggestions, a few per week, and only what nobody requested before.

- Only suggestions with a score from ``requests_minimum_score`` on, the best first, at most ``requests_per_week`` within
  any seven days; requests by command do not count.
- What is suggested must still suit the user when it is sent: limits, tags and dismissals are read again then.
- Nothing while two titles that the job requested for the user have been available for 30 days and were not started.
- Never what is in the library, was requested or declined for anybody, or was dismissed by the user. What Seerr refused
  may be tried again a week later.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from aperture_dagster.library.people import User
from aperture_dagster.library.references import MediaType
from aperture_dagster.resources.clock import Clock
from aperture_dagster.resources.database import Database
from aperture_dagster.resources.errors import NotFound
from aperture_dagster.resources.seerr import RequestRefused, SeerrUser
from aperture_dagster.settings import Settings
from aperture_dagster.sources.requests import NoSeerrUser, Obstacle, PlannedRequest, RequestDesk
from aperture_dagster.sources.suitability import why_not_now
from aperture_dagster.storage.people import read_users
from aperture_dagster.storage.requests import (
    UNWATCHED_FOR,
    UNWATCHED_TITLES,
    Candidate,
    StoredRequest,
    automatic_in_week,
    candidates_to_request,
    unwatched_requests,
)

# Suggestions that one run asks Seerr about, per user.
LOOKED_AT = 20


@dataclass(slots=True)
class AutomaticRequests:
    """What one run did for a user: requests sent, those that a dry run would send, and why there are not more."""

    sent: list[StoredRequest] = field(default_factory=list)
    planned: list[PlannedRequest] = field(default_factory=list)
    reasons: list[str] = field(default_factory=list)
    changes: int = 0


def request_best(
    desk: RequestDesk, database: Database, clock: Clock, settings: Settings, user: User
) -> AutomaticRequests:
    """Read back a user's open requests, then request their best suggestions, or only say which in a dry run.

    Raises:
        RequestRefused: Seerr refused for a reason that is not known.
        ServiceError: see :meth:`RequestDesk.send`.
    """
    result = AutomaticRequests()
    try:
        account = desk.account_of(user)
    except NoSeerrUser as error:
        result.reasons.append(str(error))
        return result
    result.changes = desk.read_back(user, account)
    # It would be approved as the owner's.
    misattributed = desk.misattributed()
    if misattributed is not None:
        result.reasons.append(misattributed)
        return result
    now = clock.now()
    with database.transaction() as connection:
        today = next((one for one in read_users(connection) if one.user_id == user.user_id), user)
        room = settings.requests_per_week - automatic_in_week(connection, user.user_id, now=now)
        unwatched = unwatched_requests(connection, user.user_id, available_before=now - UNWATCHED_FOR)
        candidates = candidates_to_request(
            connection, user.user_id, minimum_score=settings.requests_minimum_score, now=now
        )
        why_not = why_not_now(connection, settings, today, [one.work_id for one in candidates], now=now)
    if today.gone:
        result.reasons.append(f"{today.name} has left the media server.")
        return result
    result.reasons += [f"{one.title}: {why_not[one.work_id]}." for one in candidates if one.work_id in why_not]
    candidates = [one for one in candidates if one.work_id not in why_not]
    if len(unwatched) >= UNWATCHED_TITLES:
        names = ", ".join(unwatched[:UNWATCHED_TITLES])
        result.reasons.append(f"No new requests until earlier ones have been started: {names}.")
    elif room <= 0:
        most = settings.requests_per_week
        what = "1 request" if most == 1 else f"{most} requests"
        result.reasons.append(f"This week's limit of {what} has been reached.")
    elif not candidates:
        result.reasons.append(f"No new suggestion has a score of {settings.requests_minimum_score:g} or more.")
    else:
        _Round(desk, settings, user, account, result, room).go(candidates)
    return result


class _Round:
    """One user's requests of one run."""

    def __init__(
        self,
        desk: RequestDesk,
        settings: Settings,
        user: User,
        account: SeerrUser,
        result: AutomaticRequests,
        room: int,
    ) -> None:
        self._desk, self._settings, self._user, self._account = desk, settings, user, account
        self._result, self._room = result, room
        self._closed: set[MediaType] = set()
        # What a dry run would have taken from the quota.
        self._taken: Counter[MediaType] = Counter()

    def go(self, candidates: list[Candidate]) -> None:
        """Go through the suggestions, the best first, until the week is full."""
        looked_at = 0
        for candidate in candidates:
            if self._room <= 0 or looked_at >= LOOKED_AT:
                return
            if candidate.media_type not in self._closed:
                looked_at += 1
                self._consider(candidate)

    def _consider(self, candidate: Candidate) -> None:
        try:
            planned = self._desk.plan(
                self._account, candidate.work_id, candidate.media_type, candidate.tmdb_id, candidate.title
            )
        except NotFound as error:
            self._result.reasons.append(f"{candidate.title}: {error}.")
            return
        obstacle = self._obstacle(planned)
        if obstacle is not None:
            self._skip(planned, obstacle)
        elif self._settings.requests_dry_run:
            self._result.planned.append(planned)
            self._taken[planned.media_type] += planned.count
            self._room -= 1
        else:
            self._send(planned)

    def _obstacle(self, planned: PlannedRequest) -> Obstacle | None:
        if planned.obstacle is not None:
            return planned.obstacle
        if planned.was_declined:
            return Obstacle("title", f"A request for {planned.title} was declined on Seerr.")
        if not planned.quota.allows(self._taken[planned.media_type] + planned.count):
            return Obstacle("quota", f"{self._account.name}'s quota on Seerr: {planned.quota_text}.")
        return None

    def _skip(self, planned: PlannedRequest, obstacle: Obstacle) -> None:
        self._result.reasons.append(obstacle.message)
        if obstacle.kind == "title":
            if not self._settings.requests_dry_run:
                self._desk.note_obstacle(self._user, planned, obstacle)
                self._result.changes += 1
        elif obstacle.kind == "permission" or not planned.quota.allows(self._taken[planned.media_type] + 1):
            # A shorter series may still fit into what is left of the quota.
            self._closed.add(planned.media_type)

    def _send(self, planned: PlannedRequest) -> None:
        try:
            sent = self._desk.send(
                self._user, planned, automatic=True, per_week=self._settings.requests_per_week
            )  # fmt: skip
        except RequestRefused as refusal:
            if refusal.reason == "other":
                raise
            self._result.reasons.append(f"{planned.title}: {refusal}")
            if refusal.reason in ("permission", "quota"):
                self._closed.add(planned.media_type)
            else:
                self._result.changes += 1
            return
        if sent is None:
            # Another run used the rest of the week meanwhile.
            self._room = 0
            return
        self._room -= 1
        self._result.sent.append(sent)
        self._result.changes += 1
