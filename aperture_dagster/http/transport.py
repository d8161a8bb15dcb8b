"""HTTP to outside services: pacing, quota, bounded retries, ``Retry-After``, deadlines, size limits, redaction."""

from __future__ import annotations

import functools
import logging
import os
import ssl
import threading
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar
from urllib.parse import urlsplit

import httpx

from aperture_dagster.http import errors
from aperture_dagster.http.connections import Connections
from aperture_dagster.http.home_network import Route, is_private
from aperture_dagster.http.limits import Access, Limits
from aperture_dagster.http.messages import Answer, Incoming, Request, one_line, retry_after_seconds
from aperture_dagster.http.redaction import redact

log = logging.getLogger(__name__)
# httpx logs every URL with its query at INFO, httpcore every header at DEBUG: both may hold a key.
logging.getLogger("httpx").setLevel(logging.WARNING)
logging.getLogger("httpcore").setLevel(logging.WARNING)
# From 520 on: what Cloudflare answers if it cannot reach the service behind it.
RETRYABLE = frozenset({408, 425, 429, 500, 502, 503, 504, *range(520, 527)})
LONGEST_RETRY_AFTER = 120.0
LARGEST_ERROR_BODY = 64_000
PROGRESS = 65_536
"""Bytes that an attempt must bring so that it does not count as failed in a row with those before."""
USER_AGENT = "aperture-dagster (home media recommendations)"
T = TypeVar("T")


class Transport:
    """HTTP to one service, over a connection for each thread.

    Args:
        inspect: called with every answer before its status is interpreted; raises what the service means by it
            (a :class:`ServiceError` or :class:`TemporaryError`).
        route: proxy, certificate and extra headers on the way to the service.
    """

    def __init__(
        self,
        service: str,
        base_url: str,
        access: Access | None = None,
        limits: Limits | None = None,
        *,
        inspect: Callable[[Answer], None] | None = None,
        route: Route | None = None,
    ) -> None:
        self.service = service
        self.base_url = base_url
        self.requests = 0
        self._access = access or Access()
        self._limits = limits or Limits()
        self._inspect = inspect
        self._route = route or Route(direct=_is_at_home(base_url))
        self._secrets = [secret for secret in (*self._access.secrets, *self._route.headers.values()) if secret]
        self._count_lock = threading.Lock()
        headers = {
            "User-Agent": USER_AGENT,
            "Accept": "application/json",
            "Accept-Encoding": "gzip",
            **self._route.headers,
            **self._access.headers,
        }
        self._check_headers(headers)
        verify = self._route.verify
        self._connections = Connections(
            headers=headers,
            # Made here, because without the environment's proxies httpx would also ignore its SSL_CERT_FILE.
            verify=_usual_certificates() if verify is True else verify,
            trust_env=not self._route.direct,
            # A key must not follow a redirect to another host.
            follow_redirects=False,
        )

    def cancel(self) -> None:
        """End all requests and waits of all threads within a second, with :class:`Cancelled`; cannot be undone."""
        self._connections.cancel()

    def close(self) -> None:
        """Cancel what is under way and close the connections."""
        self._connections.close()

    def hide(self, *secrets: str) -> None:
        """Redact more secrets in all messages, besides those that the transport was made with."""
        self._secrets += [secret for secret in secrets if secret and secret not in self._secrets]

    def send(self, request: Request) -> Answer:
        """Send a request and return the complete answer.

        Raises:
            ServiceUnavailable: no usable answer after all attempts (network, timeout, 429, 5xx, cut off).
            ServiceFailed: the same, and the last answer was 500.
            ServiceTimedOut: the same, and the last attempt was sent and not answered in time.
            ServicePaused: the service asks for a pause of more than two minutes.
            AccessDenied: 401 or 403.
            ServiceRefused: something in front of the service asks for a password, or a certificate is not trusted.
            NotFound: 404.
            Redirected: 3xx.
            RequestRejected: any other 4xx.
            BadAnswer: the body is too large.
            QuotaSpent: the quota has no request left.
            Cancelled: see :meth:`cancel`.
        """
        return self._retry(lambda: request, self._send_once)

    def get_json(self, path: str, params: Mapping[str, Any] | None = None, *, lenient: bool = False) -> Any:
        """GET ``path`` and parse the answer; ``lenient``: see :func:`parse_json`.

        A body that does not claim to be JSON, such as a proxy's page, is requested again.

        Raises:
            BadAnswer: the answer claims to be JSON and is not, or is too large.
            ServiceError: see :meth:`send`.
        """
        request = Request("GET", path, params=params)
        return self._retry(lambda: request, functools.partial(self._send_for_json, lenient=lenient))

    def post_json(self, path: str, body: Any, *, repeatable: bool = False) -> Any:
        """POST ``body`` as JSON and parse the answer, None if it is empty; raises as :meth:`get_json`."""
        request = Request("POST", path, json=body, repeatable=repeatable)
        return self._retry(lambda: request, self._send_for_json)

    def receive(
        self,
        next_request: Callable[[], Request],
        take: Callable[[Incoming], T],
        *,
        seconds: float,
        reached: Callable[[], int],
    ) -> T:
        """Send a request and return what ``take`` makes of the answer while it arrives.

        For bodies too large for memory: ``take`` reads the parts, and may raise a TemporaryError to be called again.
        ``next_request`` is called before each attempt, so that it can ask for what is still missing. An attempt may
        last for ``seconds``. The attempts that are allowed begin anew after one that got further than all before:
        ``reached`` returns the number of bytes that are there.

        Raises:
            ServiceError: see :meth:`send`.
        """
        furthest = reached()

        def attempt(request: Request) -> T:
            nonlocal furthest
            try:
                with self._stream(request, seconds) as response:
                    if response.status_code < 300 or response.status_code in request.accept:
                        return take(Incoming(response.status_code, response.headers, response.iter_raw()))
                    answer = self._read(response, request)
                self._raise_for_status(request, answer)
            except errors.TemporaryError as error:
                error.has_progressed = reached() >= furthest + PROGRESS
                furthest = max(furthest, reached())
                raise
            raise AssertionError("a status was neither accepted nor refused")

        return self._retry(next_request, attempt)

    def _send_for_json(self, request: Request, *, lenient: bool = False) -> Any:
        answer = self._send_once(request)
        try:
            if answer.body.strip() or answer.status == 204 or request.method == "POST":
                return answer.json(lenient=lenient)
        except errors.BadAnswer:
            if "json" in answer.content_type:
                raise
        raise errors.TemporaryError(f"the answer is not JSON ({answer.content_type}){self._check_address()}")

    def _retry(self, next_request: Callable[[], Request], attempt: Callable[[Request], T]) -> T:
        """Call ``attempt`` until it succeeds, at most as often in a row without progress as allowed."""
        failures = 0
        while True:
            request = next_request()
            try:
                return attempt(request)
            except errors.TemporaryError as error:
                failures = 1 if error.has_progressed else failures + 1
                if failures >= (self._limits.attempts if request.may_repeat else 1):
                    raise error.meaning(self._clean(f"{self._where(request)}: {error}.")) from None
                wait = self._limits.backoff(failures) if error.wait is None else error.wait
                log.info("%s; trying again in %.1f s", error, wait)
            self._sleep(wait)

    def _sleep(self, seconds: float) -> None:
        if self._connections.cancelled.wait(seconds):
            raise errors.Cancelled(f"{self.service}: the run was stopped")

    def _send_once(self, request: Request) -> Answer:
        timeout = max(self._limits.timeout_seconds, request.timeout_seconds or 0)
        with self._stream(request, 2 * timeout) as response:
            answer = self._read(response, request)
        self._raise_for_status(request, answer)
        return answer

    @contextmanager
    def _stream(self, request: Request, seconds: float) -> Iterator[httpx.Response]:
        """Send a request once, and stream its answer within so many seconds.

        Raises:
            TemporaryError: the network failed, during the block as well.
            ServiceRefused: no retry helps: the address, a header or the certificate is wrong.
        """
        self._check_headers(request.headers)
        self.hide(*_tokens(request.headers))
        if self._limits.quota is not None:
            self._limits.quota.spend()
        if self._limits.pacer is not None:
            self._limits.pacer.wait(self._sleep)
        with self._count_lock:
            self.requests += 1
        timeout = max(self._limits.timeout_seconds, request.timeout_seconds or 0)
        params = {**self._access.params, **(request.params or {})}
        address = self.base_url + request.path
        try:
            with self._connections.stream(
                request.method,
                # Given separately, parameters would make httpx parse the address twice.
                httpx.URL(address, params=params) if params else httpx.URL(address),
                seconds=seconds,
                json=request.json,
                content=request.content,
                headers=request.headers,
                timeout=httpx.Timeout(timeout, connect=min(timeout, 10)),
            ) as response:
                yield response
        except (httpx.HTTPError, httpx.InvalidURL, zlib.error) as error:
            if self._connections.cancelled.is_set():
                raise errors.Cancelled(f"{self.service}: the run was stopped") from None
            raise self._translate(error) from None

    def _read(self, response: httpx.Response, request: Request) -> Answer:
        is_error = response.status_code >= 300
        limit = LARGEST_ERROR_BODY if is_error else request.max_bytes
        body = bytearray()
        # Not httpx's own decoder, which has no limit: a kilobyte of gzip may become a megabyte.
        is_packed = response.headers.get("content-encoding", "").lower() in ("gzip", "x-gzip")
        decoder = zlib.decompressobj(zlib.MAX_WBITS | 16) if is_packed else None
        progress = None if is_error else request.progress
        if progress is not None and (length := response.headers.get("content-length", "")).isdecimal():
            progress.expect(int(length))
        for chunk in response.iter_raw():
            if progress is not None:
                progress.add(len(chunk))
            body += decoder.decompress(chunk, limit + 1 - len(body)) if decoder else chunk
            if len(body) > limit:
                if is_error:
                    # The first words are enough for a message.
                    break
                raise errors.BadAnswer(
                    f"{self.service}: {request.path} is larger than {limit / 1e6:g} MB; it was not read"
                )
        return Answer(response.status_code, response.headers, bytes(body[:limit]), lambda: self._where(request))

    def _translate(self, error: Exception) -> Exception:
        """Return what a failure of the network, or of the address, means for the request."""
        if isinstance(error, httpx.TimeoutException):
            is_sent = isinstance(error, (httpx.ReadTimeout, httpx.WriteTimeout))
            meaning = errors.ServiceTimedOut if is_sent else errors.ServiceUnavailable
            message = f"no answer in time ({type(error).__name__}){self._check_address()}"
            return errors.TemporaryError(message, meaning=meaning)
        if isinstance(error, (httpx.InvalidURL, httpx.UnsupportedProtocol)):
            message = f"{self.service}: {self.base_url} is not a usable address: {error}{self._check_address()}"
            return errors.ServiceRefused(self._clean(message))
        reason = str(error) or type(error).__name__
        if "CERTIFICATE_VERIFY_FAILED" in reason:
            why = reason.partition("certificate verify failed: ")[2].partition(" (_ssl")[0] or "unknown reason"
            message = f"{self.service} at {self.base_url}: its certificate is not trusted ({why})."
            return errors.ServiceRefused(self._clean(f"{message} {self._route.certificate_advice}".rstrip()))
        if "WRONG_VERSION_NUMBER" in reason:
            reason = "it does not speak https: the address begins with http://, or the port is another"
        return errors.TemporaryError(f"{reason}{self._check_address()}")

    def _raise_for_status(self, request: Request, answer: Answer) -> None:
        """Raise what an answer means, unless it is the requested one."""
        if self._inspect is not None:
            self._inspect(answer)
        status = answer.status
        if status < 300 or status in request.accept:
            return
        where, excerpt = self._where(request), self._excerpt(answer)
        if status in RETRYABLE:
            wait = retry_after_seconds(answer.headers)
            if wait is not None and wait > LONGEST_RETRY_AFTER:
                resumes_at = datetime.now(UTC) + timedelta(seconds=wait)
                asks = f"asks to be left alone until {resumes_at:%Y-%m-%d %H:%M} UTC"
                raise errors.ServicePaused(f"{where}: answered {status}{excerpt}, and {asks}", resumes_at)
            wait = self._limits.status_waits.get(status) if wait is None else wait
            meaning = errors.ServiceFailed if status == 500 else errors.ServiceUnavailable
            raise errors.TemporaryError(f"answered {status}{excerpt}", wait, meaning=meaning)
        if status in (401, 403):
            advice = f" Check {self._access.setting}." if self._access.setting else ""
            if self._route.password_advice and "basic" in answer.headers.get("www-authenticate", "").lower():
                raise errors.ServiceRefused(f"{where}: refused ({status}){excerpt}. {self._route.password_advice}")
            raise errors.AccessDenied(f"{where}: refused ({status}){excerpt}.{advice}")
        if status == 404:
            raise errors.NotFound(f"{where}: not found")
        if status < 400:
            setting = self._access.address_setting or "the setting"
            target = self._clean(answer.headers.get("location") or "another address")[:200]
            raise errors.Redirected(f"{where}: redirects to {target}; set {setting} to the final address")
        raise errors.RequestRejected(f"{where}: answered {status}{excerpt}", status)

    def _check_headers(self, headers: Mapping[str, str]) -> None:
        for value in headers.values():
            if not value.isascii() or not value.isprintable():
                # Checked here, because the error that httpx raises shows the key.
                raise errors.ServiceRefused(
                    f"{self.service}: {self._access.setting or 'the key'} contains a character that no key contains."
                )

    def _where(self, request: Request) -> str:
        return self._clean(f"{self.service} at {self.base_url}: {request}")

    def _check_address(self) -> str:
        return f". Check {self._access.address_setting}, and that it runs there" if self._access.address_setting else ""

    def _excerpt(self, answer: Answer) -> str:
        """Return the first words of a text answer, for the operator; nothing for markup."""
        if "html" in answer.content_type:
            return ""
        # Redacted before it is cut: otherwise part of a key might remain at the edge.
        text = self._clean(one_line(answer.text) or "")[:160].rstrip(".")
        return f": {text}" if text else ""

    def _clean(self, message: str) -> str:
        return redact(message, self._secrets)


def _is_at_home(url: str) -> bool:
    try:
        return is_private(urlsplit(url).hostname or "", resolve=False)
    except ValueError:
        # Reported with the first request.
        return False


def _tokens(headers: Mapping[str, str]) -> list[str]:
    """Return the token of an ``Authorization`` header, without its scheme."""
    return [value.split()[-1] for name, value in headers.items() if name.lower() == "authorization" and value.strip()]


def _usual_certificates() -> ssl.SSLContext:
    """Return a TLS context that trusts the usual certificates, or those that the environment names."""
    return _read_certificates(os.environ.get("SSL_CERT_FILE"), os.environ.get("SSL_CERT_DIR"))


@functools.cache
def _read_certificates(file: str | None, folder: str | None) -> ssl.SSLContext:
    # Once per process: parsing 140 certificates takes longer than a request to a server at home.
    return httpx.create_ssl_context()
