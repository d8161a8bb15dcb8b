"""Settings of alerts: whom to tell about problems, and how often."""

import re
from urllib.parse import unquote, urlsplit

from aperture_dagster.settings.types import OptionalAddress, Secret, SettingsGroup

# A part of an address that looks like a token rather than like a word, which logs could contain anywhere.
_TOKEN = re.compile(r"(?=.*[0-9A-Z])[\w.~+-]{8,}|[\w.~+-]{20,}")
_HOST = re.compile(r"localhost|(?=.{1,60}$)[a-z0-9-]+(\.[a-z0-9-]+)+|\[[0-9a-f:]+\]")


class AlertSettings(SettingsGroup):
    """Alerts."""

    alert_urls: Secret = None
    """Addresses that problems are reported to, as [apprise URLs](alerts.md), separated by spaces or line breaks.
    Without one, problems are only logged.
    """
    alert_ui_url: OptionalAddress = None
    """Address at which you open the UI, for links in alerts."""

    @property
    def alert_addresses(self) -> tuple[str, ...]:
        """The addresses in clear, each once."""
        return tuple(dict.fromkeys(self.alert_urls.get_secret_value().split())) if self.alert_urls else ()


def shown_address(url: str) -> str:
    """Return an address without its secrets: the service, and the host if the address names one.

    Of user, path and parameters nothing is shown: for many services they, or what looks like the host, are tokens.
    """
    scheme, separator, _ = url.partition("://")
    if not separator or not re.fullmatch(r"[a-z][a-z0-9+.-]*", scheme):
        return "an address that is not a URL"
    host = _host_of(url)
    return f"{scheme}://{host}/…" if host else f"{scheme}://…"


def secrets_in(url: str) -> list[str]:
    """Return an address, its password, and those of its parts that look like tokens, as written and decoded."""
    try:
        password = urlsplit(url).password or ""
    except ValueError:
        password = ""
    host = _host_of(url)
    parts = [part for part in re.split(r"[/?&=@:#,;]+", url.partition("://")[2]) if part != host]
    tokens = [part for part in parts if _TOKEN.fullmatch(unquote(part))]
    found = [url, password, *tokens]
    return sorted({form for one in found for form in (one, unquote(one)) if form})


def _host_of(url: str) -> str:
    """Return the host of an address if it can be no token, else an empty text."""
    authority = re.split(r"[/?#]", url.partition("://")[2], maxsplit=1)[0]
    host = re.sub(r":\d+$", "", authority.rpartition("@")[2])
    return host if _HOST.fullmatch(host) else ""
