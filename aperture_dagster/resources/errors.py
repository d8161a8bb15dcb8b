"""What can go wrong with an outside service, by what it means for the work at hand.

``ServiceUnavailable``: try again later; what was fetched stays. ``ServiceRefused``: a person must change a setting.
``NotFound`` and ``BadAnswer`` concern one item; everything else goes on. ``QuotaSpent``: enough for today.
"""

from __future__ import annotations

from datetime import datetime


class ServiceError(Exception):
    """Something went wrong with a service. The message is for the operator and holds no secret."""


class ServiceUnavailable(ServiceError):
    """The service did not answer, or answered that it cannot now, after all retries."""


class ServicePaused(ServiceUnavailable):
    """The service asks for a pause that is too long to wait for; ``resumes_at`` (UTC) is when it goes on."""

    def __init__(self, message: str, resumes_at: datetime) -> None:
        super().__init__(message)
        self.resumes_at = resumes_at


class Cancelled(ServiceError):
    """The run was stopped while a request was under way or waiting for its turn."""


class ServiceRefused(ServiceError):
    """The service refuses us: a wrong key, a suspended account. No retry helps; a setting must change."""


class ServiceNotConfigured(ServiceError):
    """A setting that this service needs is not there; the message names it."""


class NotFound(ServiceError):
    """The service has no such thing."""


class RequestRejected(ServiceError):
    """The service says that the request itself is wrong (4xx): our bug, never retried."""


class Redirected(RequestRejected):
    """The service is to be reached at another address, which the message tells."""


class BadAnswer(ServiceError):
    """The answer is not what the service promises: not JSON, a field missing, a wrong type."""


class QuotaSpent(ServiceError):
    """The day's requests to the service are used up. Nothing is wrong: it goes on when the next day begins."""


class ServiceBusy(ServiceError):
    """Another process uses the service now, and only one may."""
