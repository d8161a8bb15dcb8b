"""Messages to the operator's addresses, through apprise, which knows more than a hundred services."""

from __future__ import annotations

import hashlib
import logging
from dataclasses import dataclass, field
from typing import Any

from aperture_dagster.alerts.rules import Message
from aperture_dagster.http.redaction import redact
from aperture_dagster.settings import Settings
from aperture_dagster.settings.alerts import secrets_in, shown_address

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

    def __init__(self, settings: Settings) -> None:
        self.addresses = [
            Address(hashlib.sha256(url.encode()).hexdigest()[:32], shown_address(url), url)
            for url in settings.alert_addresses
        ]
        self._secrets = settings.secret_values()

    def send(self, address: Address, message: Message) -> str | None:
        """Send a message; return the reason, without secrets, if that fails.

        A service that does not answer is given up after a few seconds, which is apprise's own limit.
        """
        # Imported here: it takes seconds on a small machine.
        import apprise

        # Some of its lines hold parts of an address: they go nowhere but into the reason.
        logging.getLogger("apprise").propagate = False
        asset = apprise.AppriseAsset(app_id="Aperture", storage_mode="memory", secure_logging=True)
        is_sent, why = False, ""
        log: Any = apprise.LogCapture(level=logging.WARNING, fmt="%(message)s")
        with log as said:
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
                why = said.getvalue()
            except Exception as error:
                # Whatever one of its hundred services raises concerns this message alone.
                why = f"{type(error).__name__}: {error}"
        if is_sent:
            return None
        reason = redact(" ".join(why.split()), [*self._secrets, *secrets_in(address.url)])
        return reason[:LONGEST_REASON].rstrip(".") or "the service refused it"
