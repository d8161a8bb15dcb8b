"""HTTP to outside services: pacing, quota, bounded retries, ``Retry-After``, deadlines, size caps, redaction.

Every client sits on a :class:`Transport`; nothing else in the product speaks HTTP.
"""

from __future__ import annotations

import logging
import math
import ssl
import threading
import zlib
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any, Protocol, TypeVar

import httpx
import tenacity

from aperture_dagster.resources.deadlines import BoundedBackend
from aperture_dagster.resources.errors import (
    BadAnswer,
    Cancelled,
    NotFound,
    Redirected,
    RequestRejected,
    ServicePaused,
    ServiceRefused,
    ServiceUnavailable,
)
from aperture_dagster.resources.home_network import is_private
from aperture_dagster.resources.json_text import parse_json
from aperture_dagster.resources.rate_limit import Pacer
from aperture_dagster.resources.redaction import redact

log = logging.getLogger(__name__)
# httpx logs every URL with its query at INFO, httpcore every header at DEBUG: both may hold a key.
logging.getLogger("httpx").setLevel(logging.WARNING)
logging.getLogger("httpcore").setLevel(logging.WARNING)

# From 520 on: what Cloudflare, which many services stand behind, answers when it does not reach them.
RETRYABLE = frozenset({408, 425, 429, 500, 502, 503, 504, *range(520, 527)})
LONGEST_RETRY_AFTER = 120.0
LARGEST_BODY = 32_000_000
LARGEST_ERROR_BODY = 64_000
USER_AGENT = "aperture-dagster (home media recommendations)"
T = TypeVar("T")


class TryAgain(Exception):
    """One attempt failed in a way that another may not. ``wait``: seconds that the service asks for, if it does."""

    def __init__(self, reason: str, wait: float | None = None) -> None:
        super().__init__(reason)
        self.wait = wait


class Quota(Protocol):
    """How many requests a service still allows, kept where all processes see it."""

    def spend(self) -> None:
        """Take one request from the quota, before it is sent.

        Raises:
            QuotaSpent: there is none left.
        """
        ...


@dataclass(frozen=True, slots=True)
class Answer:
    """What a service answered. ``headers`` ignores case; ``body`` is decoded and complete."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def claims_json(self) -> bool:
        """Whether the content type is JSON."""
        return "json" in self.headers.get("content-type", "").lower()

    @property
    def text(self) -> str:
        """The body as text; what is not UTF-8 is replaced."""
        return self.body.decode("utf-8", "replace")

    def json(self, *, lenient: bool = False) -> Any:
        """Parse the body; None when there is none (204). ``lenient``: see :func:`parse_json`.

        Raises:
            BadAnswer: it is not JSON.
        """
        if not self.body.strip():
            return None
        try:
            return parse_json(self.body, lenient=lenient)
        except ValueError:
            kind = self.headers.get("content-type", "no content type")
            raise BadAnswer(f"the answer is not JSON ({kind})") from None


class Transport:
    """HTTP to one service.

    Args:
        service: its name, for messages.
        base_url: with no slash at the end.
        headers: sent with every request; may hold the key, which therefore never shows in a URL.
        params: sent with every request, for services that accept their key nowhere else.
        pacer: spaces the requests, if the service limits their rate.
        quota: every attempt is taken from it, if the service limits their number.
        inspect: sees every answer before its status is interpreted, and may raise what the service means by it
            (a :class:`ServiceError`, or :class:`TryAgain`).
        timeout_seconds: for connecting (at most 10 s) and for each read. An attempt as a whole may take twice as long.
        attempts: tries in all, the first included.
        first_wait_seconds, longest_wait_seconds: between attempts; the wait doubles, with jitter.
        connections: open at once.
        secrets: values that must not appear in any message.
        setting: where to correct a refused key.
        address_setting: where to correct a wrong address.
        verify: a TLS context, or True for the usual certificates.
        direct: ignore the environment's proxies; by default, for an address that is private by itself.
        certificate_advice: what to do about a certificate that is not trusted.
        password_advice: what to do when something in front of the service asks for a password.
    """

    def __init__(
        self,
        service: str,
        base_url: str,
        *,
        headers: Mapping[str, str] | None = None,
        params: Mapping[str, str] | None = None,
        pacer: Pacer | None = None,
        quota: Quota | None = None,
        inspect: Callable[[Answer], None] | None = None,
        timeout_seconds: float = 30,
        attempts: int = 5,
        first_wait_seconds: float = 0.5,
        longest_wait_seconds: float = 20,
        connections: int = 8,
        secrets: Iterable[str] = (),
        setting: str | None = None,
        address_setting: str | None = None,
        verify: ssl.SSLContext | bool = True,
        direct: bool | None = None,
        certificate_advice: str = "",
        password_advice: str = "",
    ) -> None:
        self.service = service
        self.base_url = base_url
        self.requests = 0
        self._params = dict(params or {})
        self._pacer = pacer
        self._quota = quota
        self._inspect = inspect
        self._deadline_seconds = 2 * timeout_seconds
        self._attempts = attempts
        self._backoff = tenacity.wait_exponential(first_wait_seconds, longest_wait_seconds) + tenacity.wait_random(
            0, first_wait_seconds
        )
        self._secrets = [secret for secret in secrets if secret]
        self._setting = setting
        self._address_setting = address_setting
        self._certificate_advice = certificate_advice
        self._password_advice = password_advice
        self._count_lock = threading.Lock()
        self._cancelled = threading.Event()
        self._check_headers(headers or {})
        self._client = httpx.Client(
            headers={
                "User-Agent": USER_AGENT,
                "Accept": "application/json",
                "Accept-Encoding": "gzip",
                **(headers or {}),
            },
            timeout=httpx.Timeout(timeout_seconds, connect=min(timeout_seconds, 10)),
            limits=httpx.Limits(max_connections=connections, max_keepalive_connections=connections),
            # Made here, since without the environment's proxies httpx would also ignore its SSL_CERT_FILE.
            verify=httpx.create_ssl_context() if verify is True else verify,
            trust_env=not (_is_at_home(base_url) if direct is None else direct),
            # A key must not follow a redirect to another host.
            follow_redirects=False,
        )
        self._backend = BoundedBackend(self._cancelled)
        for transport in (self._client._transport, *self._client._mounts.values()):
            # httpx has no public way to pass a network backend to its pools.
            if isinstance(transport, httpx.HTTPTransport):
                transport._pool._network_backend = self._backend  # pyright: ignore[reportAttributeAccessIssue]

    def cancel(self) -> None:
        """End all requests and waits of all threads within a second, with :class:`Cancelled`. There is no way back."""
        self._cancelled.set()

    def close(self) -> None:
        """Cancel what is under way and close the connections."""
        self.cancel()
        self._client.close()

    def __enter__(self) -> Transport:
        """Use as a context manager."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the connections."""
        self.close()

    def request(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, Any] | None = None,
        json: Any = None,
        content: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        max_bytes: int = LARGEST_BODY,
        repeatable: bool | None = None,
        accept: Collection[int] = (),
    ) -> Answer:
        """Send a request and return the answer, whole.

        Args:
            method: GET, POST, …
            path: appended to the base URL.
            params: query parameters of this request.
            json: a body to send as JSON.
            content: a body to send as it is.
            headers: of this request, over those of the transport. A token in ``Authorization`` is redacted like the
                transport's secrets.
            max_bytes: the largest decoded body that is accepted.
            repeatable: whether a failed attempt may be repeated. By default everything but POST and PATCH may.
            accept: statuses of 300 and above to return instead of raising what they mean.

        Raises:
            ServiceUnavailable: no usable answer after all attempts (network, timeout, 429, 5xx, cut off).
            ServicePaused: the service asks for a pause of more than two minutes.
            ServiceRefused: 401, 403, or a certificate that is not trusted.
            NotFound: 404.
            Redirected: 3xx.
            RequestRejected: any other 4xx.
            BadAnswer: the body is larger than ``max_bytes``.
            QuotaSpent: the quota has no request left.
            Cancelled: see :meth:`cancel`.
        """
        return self._repeat(
            lambda: self._attempt(method, path, params, json, content, headers, max_bytes, accept),
            f"{method} {path}",
            repeatable=method not in ("POST", "PATCH") if repeatable is None else repeatable,
        )

    def get_json(self, path: str, params: Mapping[str, Any] | None = None, *, lenient: bool = False) -> Any:
        """GET ``path`` and parse the answer.

        A body that does not claim to be JSON, such as a proxy's page, is requested again; one that claims to be and
        cannot be parsed would come again the same. ``lenient``: see :func:`parse_json`.

        Raises:
            BadAnswer: the answer claims to be JSON and is not, or is too large.
            ServiceError: see :meth:`request`.
        """
        return self._repeat(
            lambda: self._attempt_json("GET", path, params, lenient=lenient), f"GET {path}", repeatable=True
        )

    def post_json(self, path: str, body: Any, *, repeatable: bool = False) -> Any:
        """POST ``body`` as JSON and parse the answer; None when there is none. ``repeatable``: see :meth:`request`.

        Raises as :meth:`get_json`.
        """
        return self._repeat(lambda: self._attempt_json("POST", path, None, body), f"POST {path}", repeatable=repeatable)

    def _attempt_json(
        self, method: str, path: str, params: Mapping[str, Any] | None, body: Any = None, *, lenient: bool = False
    ) -> Any:
        answer = self._attempt(method, path, params, body)
        if answer.body.strip() or answer.status == 204 or method != "GET":
            try:
                return answer.json(lenient=lenient)
            except BadAnswer as error:
                if answer.claims_json:
                    raise BadAnswer(f"{self._where(f'{method} {path}')}: {error}") from None
        kind = answer.headers.get("content-type", "no content type")
        raise TryAgain(f"the answer is not JSON ({kind}){self._check_address()}")

    def _repeat(self, attempt: Callable[[], T], request: str, *, repeatable: bool) -> T:
        """Call ``attempt`` until it succeeds, at most as often as allowed."""
        retrying = tenacity.Retrying(
            retry=tenacity.retry_if_exception_type(TryAgain),
            stop=tenacity.stop_after_attempt(self._attempts if repeatable else 1),
            wait=self._wait_seconds,
            sleep=self._sleep,
            before_sleep=lambda state: log.info(
                "%s; trying again in %.1f s", state.outcome and state.outcome.exception(), state.upcoming_sleep
            ),
            reraise=True,
        )
        try:
            return retrying(attempt)
        except TryAgain as error:
            raise ServiceUnavailable(self._clean(f"{self._where(request)}: {error}.")) from None

    def _wait_seconds(self, state: tenacity.RetryCallState) -> float:
        error = state.outcome.exception() if state.outcome is not None else None
        wait = error.wait if isinstance(error, TryAgain) else None
        return self._backoff(state) if wait is None else wait

    def _sleep(self, seconds: float) -> None:
        if self._cancelled.wait(seconds):
            raise Cancelled(f"{self.service}: the run was stopped")

    def _attempt(
        self,
        method: str,
        path: str,
        params: Mapping[str, Any] | None = None,
        json: Any = None,
        content: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        max_bytes: int = LARGEST_BODY,
        accept: Collection[int] = (),
    ) -> Answer:
        self._check_headers(headers or {})
        self._secrets += [token for token in _tokens(headers or {}) if token not in self._secrets]
        if self._quota is not None:
            self._quota.spend()
        if self._pacer is not None:
            self._pacer.wait(self._sleep)
        with self._count_lock:
            self.requests += 1
        self._backend.start(self._deadline_seconds)
        try:
            request = self._client.build_request(
                method,
                self.base_url + path,
                params={**self._params, **(params or {})} or None,
                json=json,
                content=content,
                headers=headers,
            )
            response = self._client.send(request, stream=True)
            try:
                answer = self._read(response, path, max_bytes)
            finally:
                response.close()
        except (httpx.HTTPError, httpx.InvalidURL, zlib.error) as error:
            if self._cancelled.is_set():
                raise Cancelled(f"{self.service}: the run was stopped") from None
            raise self._meaning_of(error) from None
        self._raise_for_status(answer, f"{method} {path}", accept)
        return answer

    def _read(self, response: httpx.Response, path: str, max_bytes: int) -> Answer:
        is_error = response.status_code >= 300
        most = LARGEST_ERROR_BODY if is_error else max_bytes
        body = bytearray()
        # Not httpx's own decoder: it unpacks whatever comes, and a kilobyte may become a megabyte.
        is_packed = response.headers.get("content-encoding", "").lower() in ("gzip", "x-gzip")
        unpack = zlib.decompressobj(zlib.MAX_WBITS | 16).decompress if is_packed else _as_it_is
        for chunk in response.iter_raw():
            body += unpack(chunk, most + 1 - len(body))
            if len(body) > most:
                if is_error:
                    # Nobody reads more of it.
                    break
                raise BadAnswer(f"{self.service}: {path} is larger than {max_bytes / 1e6:g} MB; it was not read")
        return Answer(response.status_code, response.headers, bytes(body[:most]))

    def _meaning_of(self, error: Exception) -> Exception:
        """What a failure of the network, or of the address, means for the request."""
        if isinstance(error, httpx.TimeoutException):
            return TryAgain(f"no answer in time ({type(error).__name__}){self._check_address()}")
        if isinstance(error, (httpx.InvalidURL, httpx.UnsupportedProtocol)):
            return ServiceRefused(
                self._clean(f"{self.service}: {self.base_url} is not a usable address: {error}{self._check_address()}")
            )
        reason = str(error) or type(error).__name__
        if "CERTIFICATE_VERIFY_FAILED" in reason:
            why = reason.partition("certificate verify failed: ")[2].partition(" (_ssl")[0] or "unknown reason"
            advice = f" {self._certificate_advice}" if self._certificate_advice else ""
            return ServiceRefused(
                self._clean(f"{self.service} at {self.base_url}: its certificate is not trusted ({why}).{advice}")
            )
        if "WRONG_VERSION_NUMBER" in reason:
            reason = "it does not speak https: the address begins with http://, or the port is another"
        return TryAgain(self._clean(f"{reason}{self._check_address()}"))

    def _raise_for_status(self, answer: Answer, request: str, accept: Collection[int]) -> None:
        """Raise what an answer means that is not the one asked for."""
        if self._inspect is not None:
            self._inspect(answer)
        status, where = answer.status, self._where(request)
        if status < 300 or status in accept:
            return
        if status in RETRYABLE:
            reason = f"answered {status}{self._excerpt(answer)}"
            wait = retry_after_seconds(answer.headers)
            if wait is not None and wait > LONGEST_RETRY_AFTER:
                resumes_at = datetime.now(UTC) + timedelta(seconds=wait)
                raise ServicePaused(
                    self._clean(f"{where}: {reason}, and asks to be left alone until {resumes_at:%Y-%m-%d %H:%M} UTC"),
                    resumes_at,
                )
            raise TryAgain(self._clean(reason), wait)
        if status in (401, 403):
            advice = f" Check {self._setting}." if self._setting else ""
            if self._password_advice and "basic" in answer.headers.get("www-authenticate", "").lower():
                advice = f" {self._password_advice}"
            raise ServiceRefused(self._clean(f"{where}: refused ({status}){self._excerpt(answer)}.{advice}"))
        if status == 404:
            raise NotFound(self._clean(f"{where}: not found"))
        if status < 400 and (target := answer.headers.get("location")):
            setting = self._address_setting or "the setting"
            raise Redirected(
                f"{self._clean(where)}: redirects to {self._clean(target)[:200]}; set {setting} to the final address"
            )
        raise RequestRejected(self._clean(f"{where}: answered {status}{self._excerpt(answer)}"))

    def _check_headers(self, headers: Mapping[str, str]) -> None:
        for value in headers.values():
            if not value.isascii() or not value.isprintable():
                # Checked here, because the error that httpx raises shows the key.
                raise ServiceRefused(
                    f"{self.service}: {self._setting or 'the key'} contains a character that no key contains."
                )

    def _where(self, request: str) -> str:
        return f"{self.service} at {self.base_url}: {request}"

    def _check_address(self) -> str:
        return f". Check {self._address_setting}, and that it runs there" if self._address_setting else ""

    def _excerpt(self, answer: Answer) -> str:
        """The first words of a text answer, for the operator. Markup would tell them nothing."""
        if "html" in answer.headers.get("content-type", ""):
            return ""
        # Cleaned before it is cut: of a key at the edge a part would stay.
        text = self._clean(" ".join(answer.text.split()))[:160].rstrip(".")
        return f": {text}" if text else ""

    def _clean(self, message: str) -> str:
        return redact(message, self._secrets)


def _is_at_home(url: str) -> bool:
    try:
        return is_private(httpx.URL(url).host, resolve=False)
    except httpx.InvalidURL:
        # Said when it is asked for.
        return False


def _as_it_is(chunk: bytes, _: int) -> bytes:
    return chunk


def retry_after_seconds(headers: Mapping[str, str], now: datetime | None = None) -> float | None:
    """Read ``Retry-After`` (seconds or a date): seconds from now, never negative; None when there is none."""
    value = headers.get("retry-after", "").strip()
    if not value:
        return None
    try:
        seconds = float(value)
    except ValueError:
        try:
            moment = parsedate_to_datetime(value)
        except ValueError:
            return None
        moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
        seconds = (moment - (now or datetime.now(UTC))).total_seconds()
    if not math.isfinite(seconds):
        return None
    return min(max(seconds, 0.0), timedelta(days=365).total_seconds())


def expect(value: Any, kind: type | tuple[type, ...], what: str) -> Any:
    """``value`` if it is a ``kind``.

    Raises:
        BadAnswer: saying what was expected, and what came.
    """
    kinds = kind if isinstance(kind, tuple) else (kind,)
    # Python counts True as a number; nobody else does.
    if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
        names = " or ".join(k.__name__ for k in kinds)
        raise BadAnswer(f"{what}: expected {names}, got {type(value).__name__}")
    return value


def _tokens(headers: Mapping[str, str]) -> list[str]:
    """The token of an ``Authorization`` header, without its scheme."""
    return [value.split()[-1] for name, value in headers.items() if name.lower() == "authorization" and value.strip()]
