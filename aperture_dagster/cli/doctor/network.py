"""Examine certificates and proxies."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from datetime import timedelta
from urllib.parse import urlsplit

from aperture_dagster.cli.doctor.finding import Finding
from aperture_dagster.front_door.proxies import Proxies
from aperture_dagster.http.home_network import certificate_dates
from aperture_dagster.model import Clock
from aperture_dagster.settings import Settings

ENDS_SOON = timedelta(days=14)
MOST_PROXIES = 3
"""Of those that are not trusted: clients can make themselves look like many."""


def examine_certificates(settings: Settings, clock: Clock) -> Iterator[Finding]:
    """Whether the certificate of an address of the household's own ends soon."""
    given = (settings.media_server_url, settings.media_server_public_url, settings.seerr_url)
    for address in sorted({urlsplit(url).netloc for url in given if url is not None and url.startswith("https:")}):
        # That it cannot be reached is reported already, and its public name may lead nowhere from inside.
        with contextlib.suppress(OSError, ValueError):
            begins, ends = certificate_dates(address)
            # Some live for hours only, and are renewed as often.
            is_late = ends - clock.now() < min(ENDS_SOON, (ends - begins) / 5)
            message = f"the certificate of {address} ends on {ends:%d %b %Y, %H:%M} UTC"
            todo = ", and is not trusted from then on: renew it there, or on the reverse proxy in front of it"
            yield Finding("certificates", "warning" if is_late else "ok", message + todo * is_late)


def examine_proxies(settings: Settings) -> Iterator[Finding]:
    """Whom the front door believes about clients, and who forwards requests without being trusted."""
    proxies = Proxies(settings)
    yield Finding("proxies", "ok", proxies.describe())
    for address in proxies.untrusted()[:MOST_PROXIES]:
        yield Finding("proxies", "warning", proxies.advise(address))
