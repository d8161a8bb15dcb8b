"""Errors of outside services, by their meaning for the work at hand.

``ServiceUnavailable``: try again later; what was fetched is kept. ``ServiceRefused``: a setting must be corrected.
``NotFound`` and ``BadAnswer`` concern one item; the others continue. ``QuotaSpent``: continue tomorrow.
"""

from __future__ import annotations

from datetime import datetime

from aperture_dagster.model.errors import StillChanging


class ServiceError(Exception):
    """An error of a service. The message is for the operator and contains no secret."""


class ServiceUnavailable(ServiceError):
    """The service did not answer, or reported a temporary failure, after all retries."""


class ListingChanged(ServiceUnavailable, StillChanging):
    """What the service lists changed each time while it was read."""


class ServiceTimedOut(ServiceUnavailable):
    """The service took a request and did not answer in time; it may have carried it out."""


class ServiceFailed(ServiceUnavailable):
    """The service answered that it failed for a reason of its own (500)."""


class ServicePaused(ServiceUnavailable):
    """The service asks for a pause that is too long to wait for; it ends at ``resumes_at`` (UTC)."""

    def __init__(self, message: str, resumes_at: datetime) -> None:
        super().__init__(message)
        self.resumes_at = resumes_at


class TemporaryError(Exception):
    """An attempt failed for a reason that may pass.

    Args:
        wait: seconds to wait, if the service states them.
        meaning: what it means if it was the last attempt.
    """

    def __init__(
        self, reason: str, wait: float | None = None, *, meaning: type[ServiceUnavailable] = ServiceUnavailable
    ) -> None:
        super().__init__(reason)
        self.wait = wait
        self.meaning = meaning
        self.has_progressed = False
        """Whether the attempt brought a part of what was asked for, so that trying again goes on from there."""


class Cancelled(ServiceError):
    """The run was stopped during a request or a wait."""


class ServiceRefused(ServiceError):
    """The service refuses access: a wrong key, a suspended account. A setting must be corrected; no retry helps."""


class AccessDenied(ServiceRefused):
    """The service itself answered 401 or 403: it does not accept who asks."""


class ServiceNotConfigured(ServiceError):
    """A setting that the service needs is missing; the message names it."""


class UnknownServerVersion(ServiceRefused):
    """This version of the server is not known well enough to write to it."""


class PathNotVisible(ServiceRefused):
    """The media server does not see a folder, or sees it under another path."""


class Conflict(ServiceError):
    """Something else on the server is in the way: a used name, another library's folder, a list that is not ours.

    It was left alone; the message says what to do.
    """


class NotFound(ServiceError):
    """The service does not have the requested item."""


class RequestRejected(ServiceError):
    """The service considers the request itself wrong (4xx, in ``status`` if known): our bug, never retried."""

    def __init__(self, message: str, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status


class Redirected(RequestRejected):
    """The service redirects to another address, which the message names."""


class BadAnswer(ServiceError):
    """The answer is not as documented: not JSON, a field missing, a wrong type."""


class QuotaSpent(ServiceError):
    """The day's requests to the service are used up. Not a failure: work continues the next day."""


class ServiceBusy(ServiceError):
    """Another process is using the service, and only one may."""
