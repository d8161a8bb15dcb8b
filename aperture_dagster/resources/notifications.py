"""Messages to the operator's addresses, through apprise, which knows more than a hundred services."""

from __future__ import annotations

import hashlib
import logging
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from aperture_dagster.library.alerts import Message
from aperture_dagster.resources.redaction import redact
from aperture_dagster.settings import Settings
from aperture_dagster.settings.alerts import secrets_in, shown_address

SEND_SECONDS = 20.0
LONGEST_REASON = 200


@dataclass(frozen=True, slots=True)
class Address:
    """An address that messages are sent to.

    Args:
        digest: identifies it in the database.
        shown: it without its secrets.
        url: it as configured, a secret.
    """

    digest: str
    shown: str
    url: str = field(repr=False)


class Notifier:
    """Sends messages to the configured addresses."""

    def __init__(self, settings: Settings, *, send_seconds: float = SEND_SECONDS) -> None:
        self.addresses = [
            Address(hashlib.sha256(url.encode()).hexdigest()[:32], shown_address(url), url)
            for url in settings.alert_addresses
        ]
        self._secrets = settings.secret_values()
        self._send_seconds = send_seconds

    def send(self, messages: Mapping[str, Message]) -> dict[str, str | None]:
        """Send a message to each of some addresses, by digest, at the same time.

        Returns:
            Why a message could not be sent, without secrets, by the digest of its address; None where it was sent. An
            address that does not answer within the time limit is given up.
        """
        # Loaded before the time limit starts: it takes seconds on a small machine.
        import apprise

        asset = apprise.AppriseAsset(app_id="Aperture", storage_mode="memory", secure_logging=True)
        known = {address.digest: address for address in self.addresses}
        outcomes: dict[str, str | None] = {digest: "it did not answer in time" for digest in messages}

        def work(address: Address, message: Message) -> None:
            outcomes[address.digest] = self._send(address, message, asset)

        # Daemons: one that hangs must hold neither this call nor the end of the process.
        threads = [
            threading.Thread(target=work, args=(known[digest], message), daemon=True)
            for digest, message in messages.items()
        ]
        for thread in threads:
            thread.start()
        until = time.monotonic() + self._send_seconds
        for thread in threads:
            thread.join(max(until - time.monotonic(), 0))
        return dict(outcomes)

    def _send(self, address: Address, message: Message, asset: Any) -> str | None:
        """Send a message; return the reason if that fails."""
        import apprise

        with _captured_log() as lines:
            try:
                service = apprise.Apprise.instantiate(address.url, asset=asset)
                if not isinstance(service, apprise.NotifyBase):
                    return "it is not an address that apprise understands: see docs/alerts.md for examples"
                if service.overflow_mode == apprise.OverflowMode.UPSTREAM:
                    # A service that takes no long messages, such as Discord, would refuse it each time.
                    service.overflow_mode = apprise.OverflowMode.TRUNCATE
                is_sent = service.notify(
                    body=message.body,
                    title=message.title,
                    notify_type=apprise.NotifyType.SUCCESS if message.is_good else apprise.NotifyType.WARNING,
                    body_format=apprise.NotifyFormat.TEXT,
                )
            except Exception as error:
                # Whatever one of its hundred services raises concerns this message alone.
                lines.append(f"{type(error).__name__}: {error}")
                is_sent = False
        if is_sent:
            return None
        reason = redact(" ".join(" ".join(lines).split()), [*self._secrets, *secrets_in(address.url)])
        return reason[:LONGEST_REASON].rstrip(".") or "the service refused it"


class _OfThread(logging.Handler):
    """Collects the warnings that one thread logs."""

    def __init__(self, lines: list[str]) -> None:
        super().__init__(logging.WARNING)
        self._lines, self._thread = lines, threading.get_ident()

    def emit(self, record: logging.LogRecord) -> None:
        if record.thread == self._thread:
            self._lines.append(record.getMessage())


@contextmanager
def _captured_log() -> Iterator[list[str]]:
    """Collect what apprise says in this thread instead of logging it, since it says only there why a message failed."""
    logger, lines = logging.getLogger("apprise"), list[str]()
    handler: Any = _OfThread(lines)
    # Its other lines, of which some hold parts of an address, go nowhere.
    logger.propagate = False
    logger.addHandler(handler)
    try:
        yield lines
    finally:
        logger.removeHandler(handler)
