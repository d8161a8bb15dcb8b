"""A client of Seerr (Jellyseerr, Overseerr): users, quota, what became of a title, and requests for titles.

Facts about the API that shaped this module:

- The key alone acts as the first user, the owner, who may read everything and whose requests are approved at once.
  With ``X-API-User`` the rights, the quota and the approval are those of that user; ``userId`` in the body only changes
  the name on the request.
- 201: created. 202: no season is left to request, and nothing was created. 409: somebody requested it before. 403: the
  permission, the quota, the blocklist or the protection against CSRF, told apart only by the text.
- ``is4k`` is optional, but the search for duplicates compares with it. Series need ``seasons``; "all" is without
  specials.
- An available film can be requested again, and so can what was declined.
- The quota of series counts seasons.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

from aperture_dagster.catalogue.references import MediaType
from aperture_dagster.http import errors
from aperture_dagster.http.client import ServiceClient
from aperture_dagster.http.errors import ServiceNotConfigured
from aperture_dagster.http.messages import Answer, Request, as_object, expect, objects, one_line
from aperture_dagster.http.redaction import redact
from aperture_dagster.settings import Settings
from aperture_dagster.texts import Texts
from aperture_dagster.worklist.services import Service

RequestStatus = Literal["pending", "approved", "declined", "failed", "completed"]
MediaStatus = Literal["unknown", "pending", "processing", "partly available", "available", "blocklisted", "deleted"]
Reason = Literal["permission", "quota", "blocklist", "duplicate", "no seasons", "other"]
TYPES: dict[MediaType, str] = {"movie": "movie", "series": "tv"}
PAGE_SIZE = 100
# 100 pages are more users than any household has; the end of a list that never ends.
MOST_PAGES = 100
LARGEST_NUMBER = 2**31 - 1
_REQUEST_STATUSES: dict[int, RequestStatus] = {
    1: "pending", 2: "approved", 3: "declined", 4: "failed", 5: "completed",
}  # fmt: skip
_MEDIA_STATUSES: dict[int, MediaStatus] = {
    1: "unknown", 2: "pending", 3: "processing", 4: "partly available", 5: "available", 6: "blocklisted", 7: "deleted",
}  # fmt: skip
_ADMIN, _MANAGE_REQUESTS = 1 << 1, 1 << 4
_REQUEST: dict[MediaType, int] = {"movie": 1 << 5 | 1 << 18, "series": 1 << 5 | 1 << 19}
_AUTO_APPROVE: dict[MediaType, int] = {"movie": 1 << 7 | 1 << 8, "series": 1 << 7 | 1 << 9}
LOSES_THE_USER = (
    "Something between here and Seerr, such as a proxy, removes the header X-API-User: set APERTURE_SEERR_URL to "
    "Seerr's own address."
)


class RequestRefused(errors.ServiceError):
    """Seerr created no request, for a reason that concerns this user or this title alone."""

    def __init__(self, message: str, reason: Reason) -> None:
        super().__init__(message)
        self.reason: Reason = reason

    def said(self, _: Texts) -> str:
        """Say it to the user, in a language; Seerr's own words have but one."""
        return {
            "permission": _("Seerr does not let you request this."),
            "quota": _("Your quota on Seerr is used up for now."),
            "blocklist": _("This title is on Seerr's blocklist."),
            "duplicate": _("This has been requested on Seerr already."),
            "no seasons": _("No season is left to request."),
            "other": _("Seerr refuses this request."),
        }[self.reason]


class WrongRequester(errors.ServiceRefused):
    """Seerr created a request as somebody else."""

    def __init__(self, message: str, request: SeerrRequest) -> None:
        super().__init__(message)
        self.request = request


@dataclass(frozen=True, slots=True)
class SeerrUser:
    """A user of Seerr. ``server_user_id`` is the user's id on the media server, without dashes and in lower case."""

    seerr_id: int
    name: str
    server_user_id: str | None
    permissions: int

    def may_request(self, media_type: MediaType) -> bool:
        """Whether the user may request titles of this type."""
        return bool(self.permissions & (_ADMIN | _REQUEST[media_type]))

    def is_approved_at_once(self, media_type: MediaType) -> bool:
        """Whether nobody has to approve the user's requests."""
        return bool(self.permissions & (_ADMIN | _MANAGE_REQUESTS | _AUTO_APPROVE[media_type]))


@dataclass(frozen=True, slots=True)
class RequestQuota:
    """How much a user may request within ``days``, in films or in seasons; ``remaining`` is None without a limit."""

    limit: int | None
    remaining: int | None
    days: int | None

    def allows(self, count: int) -> bool:
        """Whether so many films or seasons are left."""
        return self.remaining is None or self.remaining >= count


@dataclass(frozen=True, slots=True)
class SeerrRequest:
    """A request on Seerr, and the status of what was requested."""

    request_id: int
    status: RequestStatus
    seerr_user_id: int | None
    seasons: tuple[int, ...] = ()
    media_status: MediaStatus = "unknown"


@dataclass(frozen=True, slots=True)
class SeerrTitle:
    """What Seerr knows of a title.

    ``seasons`` are the numbers of all seasons but the specials, ``open_seasons`` those that can still be requested, and
    ``requests`` all that were made for it, by anybody, in order; those in 4K are left out everywhere.
    """

    name: str | None
    status: MediaStatus
    seasons: tuple[int, ...] = ()
    open_seasons: tuple[int, ...] = ()
    requests: tuple[SeerrRequest, ...] = ()


class Seerr(ServiceClient):
    """Seerr; ``options`` are passed to the transport."""

    def __init__(self, url: str, api_key: str, **options: Any) -> None:
        super().__init__(
            "Seerr",
            url,
            headers={"X-Api-Key": api_key},
            inspect=partial(inspect, api_key),
            secrets=[api_key],
            setting="SEERR_API_KEY",
            address_setting="APERTURE_SEERR_URL",
            **options,
        )

    def check(self) -> tuple[str, list[SeerrUser]]:
        """Verify the address and the key; return Seerr's version and its users.

        Raises:
            ServiceRefused: the key is refused, or another program answers.
            ServiceUnavailable: see :class:`Transport`.
        """
        reason = ""
        try:
            version = one_line(as_object(self.transport.get_json("/api/v1/status")).get("version"))
        except (errors.NotFound, errors.RequestRejected) as error:
            version, reason = None, f" ({error})"
        if version is None:
            raise errors.ServiceRefused(
                f"The server at {self.transport.base_url} is not Seerr{reason}: set APERTURE_SEERR_URL to its address "
                "as a browser shows it, such as http://192.168.1.10:5055."
            )
        return version, self.users()

    def users(self) -> list[SeerrUser]:
        """Read all users, in the order of their ids.

        Raises:
            ServiceRefused: the key is refused.
            BadAnswer: the answer is not a list of users.
            ServiceUnavailable: see :class:`Transport`.
        """
        found = {}
        for entry in self._pages("/api/v1/user"):
            number, server_id = _whole(entry.get("id")), entry.get("jellyfinUserId")
            if number is not None:
                found[number] = SeerrUser(
                    number,
                    one_line(entry.get("displayName")) or f"user {number}",
                    comparable_id(server_id) if isinstance(server_id, str) and server_id.strip() else None,
                    _whole(entry.get("permissions")) or 0,
                )
        return list(found.values())

    def verify_user(self, seerr_user_id: int) -> None:
        """Verify that requests act as a user, before anything is sent.

        Raises:
            ServiceRefused: they would act as the owner, who needs no approval.
            BadAnswer, ServiceUnavailable: see :meth:`users`.
        """
        acting = self._get("/api/v1/auth/me", {"X-API-User": str(seerr_user_id)}).get("id")
        if acting != seerr_user_id:
            raise errors.ServiceRefused(f"{LOSES_THE_USER} Nothing was requested.")

    def quota(self, seerr_user_id: int) -> dict[MediaType, RequestQuota]:
        """Read how much a user may still request, by media type; raises as :meth:`users`."""
        answer = self._get(f"/api/v1/user/{seerr_user_id}/quota")
        return {media_type: _quota(as_object(answer.get(name))) for media_type, name in TYPES.items()}

    def title(self, media_type: MediaType, tmdb_id: int) -> SeerrTitle:
        """Read what Seerr knows of a title, and who requested it.

        Raises:
            NotFound: Seerr cannot look the title up on TMDb.
            ServiceRefused, BadAnswer, ServiceUnavailable: see :meth:`users`.
        """
        return parse_title(self._get(f"/api/v1/{TYPES[media_type]}/{tmdb_id}"))

    def read_request(self, request_id: int) -> SeerrRequest:
        """Read a request.

        Raises:
            NotFound: it was deleted.
            ServiceRefused, BadAnswer, ServiceUnavailable: see :meth:`users`.
        """
        found = parse_request(self._get(f"/api/v1/request/{request_id}"))
        if found is None:
            raise errors.BadAnswer(f"Seerr: the answer does not describe request {request_id}")
        return found

    def request(
        self, seerr_user_id: int, media_type: MediaType, tmdb_id: int, *, seasons: Sequence[int] | None = None
    ) -> SeerrRequest:
        """Request a title as a user; ``seasons`` of a series are all but the specials unless given. Never repeated.

        Raises:
            RequestRefused: nothing was created; ``reason`` says why.
            WrongRequester: it was created as somebody else.
            ServiceRefused: the key is refused, or Seerr demands a CSRF token.
            BadAnswer, ServiceUnavailable: it is not known whether the request was created.
        """
        body: dict[str, Any] = {"mediaType": TYPES[media_type], "mediaId": tmdb_id, "is4k": False}
        if media_type == "series":
            body["seasons"] = list(seasons) if seasons else "all"
        headers = {"X-API-User": str(seerr_user_id)}
        try:
            answer = self.transport.send(
                Request("POST", "/api/v1/request", json=body, headers=headers, repeatable=False)
            )
        except _Refused as refused:
            raise refused.explained() from None
        if answer.status == 202:
            raise RequestRefused("Seerr: no season is left to request; nothing was created.", "no seasons")
        created = parse_request(answer.json()) if answer.status == 201 else None
        if created is None:
            raise errors.BadAnswer(f"Seerr: answered {answer.status} without a request")
        if created.seerr_user_id not in (None, seerr_user_id):
            raise WrongRequester(
                f"Seerr made request {created.request_id} as user {created.seerr_user_id} instead of {seerr_user_id}. "
                f"{LOSES_THE_USER} Delete the request on Seerr.",
                created,
            )
        return created

    def _get(self, path: str, headers: dict[str, str] | None = None) -> dict[str, Any]:
        """Read an object, as the owner unless a header says otherwise."""
        try:
            answer = self.transport.send(Request("GET", path, headers=headers or {}))
        except _Refused as refused:
            raise refused.explained() from None
        return expect(answer.json(), dict, f"Seerr's answer to {path}")

    def _pages(self, path: str) -> Iterator[dict[str, Any]]:
        """Yield the entries of all pages. A short page is not the last one: the total decides."""
        read = 0
        for _ in range(MOST_PAGES):
            try:
                answer = self.transport.get_json(path, {"take": PAGE_SIZE, "skip": read})
            except _Refused as refused:
                raise refused.key_error() from None
            answer = expect(answer, dict, f"Seerr's answer to {path}")
            entries = expect(answer.get("results"), list, f"Seerr's answer to {path}: results")
            yield from objects(entries)
            read += len(entries)
            total = as_object(answer.get("pageInfo")).get("results")
            if not entries or (isinstance(total, int) and read >= total):
                return


class _Refused(Exception):
    """A refusal (401, 403, 409) whose meaning depends on the request."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(status, message)
        self.status, self.message = status, message

    def explained(self) -> errors.ServiceError:
        """Return what it means after the key was accepted."""
        text = self.message.lower()
        if "csrf" in text:
            return errors.ServiceRefused(
                "Seerr: refused, because its protection against CSRF is on, which no key can satisfy. Switch off "
                "'Enable CSRF Protection' in Seerr's Settings, Network, and restart Seerr."
            )
        if self.status == 401:
            return self.key_error()
        words: dict[str, Reason] = {
            "quota": "quota", "blocklist": "blocklist", "blacklist": "blocklist", "permission": "permission",
        }  # fmt: skip
        reason: Reason = "duplicate" if self.status == 409 else "other"
        for word, meaning in words.items():
            if reason == "other" and word in text:
                reason = meaning
        return RequestRefused(f"Seerr: {self.message or f'answered {self.status}'}", reason)

    def key_error(self) -> errors.ServiceRefused:
        """Return what it means before the key was accepted."""
        message = f": {self.message}" if self.message else ""
        return errors.ServiceRefused(f"Seerr: the key was refused ({self.status}){message}. Check SEERR_API_KEY.")


def inspect(api_key: str, answer: Answer) -> None:
    """Raise what an answer of Seerr means beyond its status; a hook for :class:`Transport`."""
    if answer.status in (401, 403, 409, 500):
        # Redacted before it is cut, since half a key would not be found.
        message = redact(answer.message("message", "error"), [api_key])[:200].rstrip(".")
        if answer.status != 500:
            raise _Refused(answer.status, message)
        if message.startswith("Unable to retrieve"):
            raise errors.NotFound(f"Seerr cannot look the title up on TMDb: {message}")


def comparable_id(server_user_id: str) -> str:
    """Return an id of the media server as Seerr and the server may both write it."""
    return server_user_id.strip().replace("-", "").casefold()


def parse_request(answer: Any) -> SeerrRequest | None:
    """Parse a request; None if it is not one."""
    entry = as_object(answer)
    number, code = _whole(entry.get("id")), _whole(entry.get("status"))
    status = None if code is None else _REQUEST_STATUSES.get(code)
    if number is None or status is None:
        return None
    by = _whole(as_object(entry.get("requestedBy")).get("id"))
    return SeerrRequest(number, status, by, _season_numbers(entry), _media_status(entry.get("media")))


def parse_title(answer: dict[str, Any]) -> SeerrTitle:
    """Parse the details of a film or a series."""
    media = as_object(answer.get("mediaInfo"))
    usual = [one for one in objects(media.get("requests")) if not one.get("is4k")]
    requests = [request for one in usual if (request := parse_request(one)) is not None]
    there = [one for one in objects(media.get("seasons")) if _media_status(one) not in ("unknown", "deleted")]
    taken = {_whole(season.get("seasonNumber")) for season in there}
    taken |= {season for one in requests if one.status not in ("declined", "completed") for season in one.seasons}
    seasons = tuple(number for number in _season_numbers(answer) if number > 0)
    return SeerrTitle(
        one_line(answer.get("title")) or one_line(answer.get("name")),
        _media_status(media),
        seasons,
        tuple(number for number in seasons if number not in taken),
        tuple(sorted(requests, key=lambda one: one.request_id)),
    )


def _season_numbers(entry: dict[str, Any]) -> tuple[int, ...]:
    numbers = (_whole(one.get("seasonNumber")) for one in objects(entry.get("seasons")))
    return tuple(number for number in numbers if number is not None)


def _media_status(entry: Any) -> MediaStatus:
    code = _whole(as_object(entry).get("status"))
    return "unknown" if code is None else _MEDIA_STATUSES.get(code, "unknown")


def _whole(value: Any) -> int | None:
    """Return a number as it can be stored; None for anything else."""
    is_number = isinstance(value, int) and not isinstance(value, bool)
    return value if is_number and 0 <= value <= LARGEST_NUMBER else None


def _quota(entry: dict[str, Any]) -> RequestQuota:
    limit, used, remaining, days = (_whole(entry.get(name)) for name in ("limit", "used", "remaining", "days"))
    if not limit:
        return RequestQuota(None, None, days)
    left = remaining if remaining is not None else max(0, limit - (used or 0))
    return RequestQuota(limit, 0 if entry.get("restricted") else left, days)


def _connect(settings: Settings, key: str, **options: object) -> Seerr:
    if settings.seerr_url is None:
        raise ServiceNotConfigured("APERTURE_SEERR_URL is not set")
    return Seerr(settings.seerr_url, key, **options)


# One process at a time, so that nothing is requested twice.
SEERR: Service[Seerr] = Service(
    name="seerr",
    label="Seerr",
    connect=_connect,
    key=lambda settings: settings.seerr_api_key,
    key_setting="SEERR_API_KEY",
    url=lambda settings: settings.seerr_url or "",
    without_key="nothing can be requested",
)


def why_not_configured(settings: Settings) -> str | None:
    """Name the setting that requests need and that is missing; None if there is none."""
    if settings.seerr_url is None:
        return "APERTURE_SEERR_URL is not set: set it to the address of Seerr, such as http://192.168.1.10:5055."
    if settings.seerr_api_key is None:
        return "SEERR_API_KEY is not set: set it to the API key in Seerr's Settings, General."
    return None


def requests_are_off(settings: Settings) -> str | None:
    """Say why nothing is requested automatically; None while it is."""
    if not settings.requests_per_week:
        return "Automatic requests are off. APERTURE_REQUESTS_PER_WEEK=2 sends two for each user every week."
    return why_not_configured(settings)
