"""The one way out: HTTP with limits, bounded retries, ``Retry-After``, timeouts, redaction and a request counter.

Every service's client sits on a :class:`Transport`; none of them talks HTTP by itself.
"""

from __future__ import annotations

import logging
import math
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, Protocol

import httpx
import stamina
import stamina.instrumentation

from aperture_dagster.resources.errors import (
    BadAnswer,
    NotFound,
    Redirected,
    RequestRejected,
    ServiceRefused,
    ServiceUnavailable,
)
from aperture_dagster.resources.rate_limit import RateLimit, Turn
from aperture_dagster.resources.redaction import redact

log = logging.getLogger(__name__)
# httpx writes every URL, query and all, at INFO.
logging.getLogger("httpx").setLevel(logging.WARNING)
# And httpcore the headers of every answer, at DEBUG: a redirect's may repeat the query.
logging.getLogger("httpcore").setLevel(logging.WARNING)
# stamina would print every retry; the operator hears of those that did not help.
stamina.instrumentation.set_on_retry_hooks(
    [lambda details: log.info("%s; trying again in %.1f s", details.caused_by, details.wait_for)]
)

# From 520 on: what Cloudflare, which many services stand behind, says when it does not reach them.
RETRYABLE = frozenset({408, 425, 429, 500, 502, 503, 504, *range(520, 527)})
LONGEST_RETRY_AFTER = 120.0
USER_AGENT = "aperture-dagster (home media recommendations)"
# For whoever looks at answers: of HTTP itself only this module knows.
Response = httpx.Response


class TryAgain(Exception):
    """One attempt failed in a way that another may not; carries what the service asked us to wait, in seconds."""

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


class Transport:
    """HTTP to one service.

    Args:
        service: its name, for messages and counters.
        base_url: with no slash at the end.
        headers: sent with every request; may hold the key, which therefore never shows in a URL.
        params: sent with every request, for services that take their key nowhere else.
        limit: the service's rate limit, if it has one.
        quota: its quota, if it has one: every attempt is taken from it.
        look: sees every answer before anything is made of its status, and may raise what the service means by it
            (a :class:`ServiceError`, or :class:`TryAgain`).
        timeout_seconds: for one attempt.
        attempts: tries in all, the first included.
        secrets: values that must not show in any message.
        setting: the setting that a refused key is to be corrected in.
        address_setting: the setting that a wrong address is to be corrected in.
    """

    def __init__(
        self,
        service: str,
        base_url: str,
        *,
        headers: Mapping[str, str] | None = None,
        params: Mapping[str, str] | None = None,
        limit: RateLimit | None = None,
        quota: Quota | None = None,
        look: Callable[[Response], None] | None = None,
        timeout_seconds: float = 30,
        attempts: int = 5,
        first_wait_seconds: float = 0.5,
        longest_wait_seconds: float = 20,
        connections: int = 8,
        secrets: Iterable[str] = (),
        setting: str | None = None,
        address_setting: str | None = None,
    ) -> None:
        self.service = service
        self.base_url = base_url
        self.requests = 0
        self._params = dict(params or {})
        self._limit = limit
        self._quota = quota
        self._look = look
        self._attempts = attempts
        self._waits = (first_wait_seconds, longest_wait_seconds)
        self._secrets = [secret for secret in secrets if secret]
        self._setting = setting
        self._address_setting = address_setting
        self._count_lock = threading.Lock()
        for value in (headers or {}).values():
            if not value.isascii() or not value.isprintable():
                # Checked here, because the error of whoever meets it later shows the key.
                raise ServiceRefused(f"{service}: {setting or 'the key'} holds a character that no key has.")
        self._client = httpx.Client(
            headers={"User-Agent": USER_AGENT, "Accept": "application/json", **(headers or {})},
            timeout=httpx.Timeout(timeout_seconds, connect=min(timeout_seconds, 10)),
            limits=httpx.Limits(max_connections=connections, max_keepalive_connections=connections),
            # A key must not follow a redirect to another host.
            follow_redirects=False,
        )

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def __enter__(self) -> Transport:
        """Use as a context manager."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the connections."""
        self.close()

    def get_json(self, path: str, params: Mapping[str, Any] | None = None, *, retry: bool = True) -> Any:
        """GET ``path`` and return the parsed JSON.

        Raises:
            ServiceUnavailable: no usable answer after all attempts (network, timeout, 429, 5xx, cut off, not JSON).
            ServiceRefused: 401 or 403.
            NotFound: 404.
            RequestRejected: any other 4xx, and redirects.
        """
        return self._json("GET", path, params=params, retry=retry)

    def post_json(self, path: str, body: Any, *, retry: bool = True) -> Any:
        """POST ``body`` as JSON and return the parsed JSON; raises as :meth:`get_json`. For requests that are safe
        to repeat, unless ``retry`` is False.
        """
        return self._json("POST", path, body=body, retry=retry)

    def get_bytes(
        self, path: str, params: Mapping[str, Any] | None = None, *, largest: int, retry: bool = True
    ) -> bytes:
        """GET ``path`` and return its body, of which no more than ``largest`` bytes are read.

        Raises:
            BadAnswer: the body is longer than that.
            ServiceUnavailable, ServiceRefused, NotFound, RequestRejected: as :meth:`get_json`.
        """
        return self._repeat("GET", path, retry, lambda: self._attempt_bytes(path, params, largest))

    def post_text(self, path: str, body: str, *, content_type: str, retry: bool = True) -> None:
        """POST ``body`` as it is; whatever is answered is not read. For requests that are safe to repeat, unless
        ``retry`` is False. Raises as :meth:`get_json`.
        """
        self._repeat("POST", path, retry, lambda: self._attempt_text(path, body, content_type))

    def _json(
        self, method: str, path: str, *, params: Mapping[str, Any] | None = None, body: Any = None, retry: bool
    ) -> Any:
        return self._repeat(method, path, retry, lambda: self._attempt_json(method, path, params, body))

    def _repeat(self, method: str, path: str, retry: bool, attempt_once: Callable[[], Any]) -> Any:
        first, longest = self._waits
        try:
            for attempt in stamina.retry_context(
                on=_wait_before_retry,
                attempts=self._attempts if retry else 1,
                timeout=None,
                wait_initial=first,
                wait_max=longest,
                wait_jitter=first,
            ):
                with attempt:
                    return attempt_once()
        except TryAgain as error:
            raise ServiceUnavailable(
                self._clean(f"{self.service} at {self.base_url}: {method} {path}: {error}.")
            ) from None
        raise AssertionError("unreachable")

    def _attempt_json(self, method: str, path: str, params: Mapping[str, Any] | None, body: Any) -> Any:
        with self._sent(method, path, params, body) as response:
            response.read()
        self._judge(response, f"{method} {path}")
        try:
            return response.json()
        except (ValueError, RecursionError):
            kind = response.headers.get("content-type", "no content type")
        # A proxy's page or a half-written body can be over in a second, so it is worth another try first.
        raise TryAgain(self._clean(f"the answer is not JSON ({kind}){self._check_address()}"))

    def _attempt_text(self, path: str, body: str, content_type: str) -> None:
        with self._sent("POST", path, None, body.encode(), {"Content-Type": content_type}) as response:
            response.read()
        self._judge(response, f"POST {path}")

    def _attempt_bytes(self, path: str, params: Mapping[str, Any] | None, largest: int) -> bytes:
        content = bytearray()
        with self._sent("GET", path, params, None) as response:
            if response.status_code != 200:
                response.read()
            else:
                for chunk in response.iter_bytes():
                    content += chunk
                    if len(content) > largest:
                        raise BadAnswer(f"{self.service}: {path} is larger than {largest / 1e6:g} MB, and was left")
        self._judge(response, f"GET {path}")
        return bytes(content)

    @contextmanager
    def _sent(
        self,
        method: str,
        path: str,
        params: Mapping[str, Any] | None,
        body: Any,
        headers: Mapping[str, str] | None = None,
    ) -> Iterator[httpx.Response]:
        """Send one request within limit and quota; the answer is read inside the block."""
        if self._quota is not None:
            self._quota.spend()
        turn = self._limit.wait() if self._limit is not None else None
        with self._count_lock:
            self.requests += 1
        response = None
        try:
            request = self._client.build_request(
                method,
                self.base_url + path,
                params={**self._params, **(params or {})} or None,
                json=None if isinstance(body, bytes) else body,
                content=body if isinstance(body, bytes) else None,
                headers=headers,
                extensions={"trace": self._tracer(turn)} if turn is not None else None,
            )
            response = self._client.send(request, stream=True)
            self._answered(turn)
            yield response
        except httpx.TimeoutException as error:
            raise TryAgain(f"no answer in time ({type(error).__name__}){self._check_address()}") from None
        except httpx.InvalidURL as error:
            raise ServiceRefused(
                self._clean(f"{self.service}: {self.base_url} is not a usable address: {error}{self._check_address()}")
            ) from None
        except httpx.HTTPError as error:
            reason = str(error) or type(error).__name__
            if "WRONG_VERSION_NUMBER" in reason:
                reason = "it does not speak https: the address begins with http://, or the port is another"
            raise TryAgain(self._clean(f"{reason}{self._check_address()}")) from None
        finally:
            if response is None:
                self._answered(turn)
            else:
                response.close()

    def _tracer(self, turn: Turn) -> Callable[[str, Any], None]:
        def trace(event: str, _: Any) -> None:
            # Making the connection takes a while, in which the service knows nothing of the request.
            if event == "http11.send_request_body.complete" and self._limit is not None:
                self._limit.sent(turn)

        return trace

    def _answered(self, turn: Turn | None) -> None:
        if self._limit is not None and turn is not None:
            self._limit.answered(turn)

    def _judge(self, response: httpx.Response, request: str) -> None:
        """Raise what an answer means that is not the one asked for."""
        if self._look is not None:
            self._look(response)
        status = response.status_code
        where = f"{self.service} at {self.base_url}: {request}"
        if status in RETRYABLE:
            reason = self._clean(f"answered {status}{self._excerpt(response)}")
            raise TryAgain(reason, retry_after_seconds(response.headers))
        if status in (401, 403):
            advice = f" Check {self._setting}." if self._setting else ""
            raise ServiceRefused(self._clean(f"{where}: refused ({status}){self._excerpt(response)}.{advice}"))
        if status == 404:
            raise NotFound(self._clean(f"{where}: not found"))
        if 300 <= status < 400 and (target := response.headers.get("location")):
            setting = self._address_setting or "the setting"
            raise Redirected(
                f"{self._clean(where)}: redirects to {self._clean(target)[:200]}; "
                f"set {setting} to the address that it is to be reached at"
            )
        if status >= 300:
            raise RequestRejected(self._clean(f"{where}: answered {status}{self._excerpt(response)}"))

    def _check_address(self) -> str:
        return f". Check {self._address_setting}, and that it runs there" if self._address_setting else ""

    def _excerpt(self, response: httpx.Response) -> str:
        """The first words of a text answer, for the operator; markup says nothing to them."""
        if "html" in response.headers.get("content-type", ""):
            return ""
        # Cleaned before it is cut: of a key at the edge a part would stay.
        text = self._clean(" ".join(response.text.split()))[:160]
        return f": {text}" if text else ""

    def _clean(self, message: str) -> str:
        return redact(message, self._secrets)


def retry_after_seconds(headers: Mapping[str, str], now: datetime | None = None) -> float | None:
    """What ``Retry-After`` (seconds or a date) asks for, or None; never more than two minutes, never negative."""
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
    return min(max(seconds, 0.0), LONGEST_RETRY_AFTER)


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


def _wait_before_retry(error: Exception) -> bool | float:
    if not isinstance(error, TryAgain):
        return False
    return True if error.wait is None else error.wait
