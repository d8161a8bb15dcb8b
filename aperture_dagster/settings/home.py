"""Settings of this machine: where it keeps things and for how long, when it works, how it retries, whom it tells."""

from __future__ import annotations

import contextlib
import os
import re
from datetime import datetime, time
from pathlib import Path
from typing import Annotated
from urllib.parse import unquote, urlsplit
from zoneinfo import ZoneInfo

from platformdirs import user_data_path
from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt, StringConstraints

from aperture_dagster.model.errors import OperatorError
from aperture_dagster.settings.types import (
    DaySpan,
    Hosts,
    OptionalAddress,
    Proxies,
    Secret,
    SettingsGroup,
    Times,
    TimeZone,
    span_of,
)

# Where a checkout and an installed package keep things, and where each of them reads its settings from.
#
# A checkout keeps everything in its own folder, unless the environment names a home. An installed package keeps
# everything in its home, by default the user's data folder, and never looks at the working folder: a service must not
# depend on where it is started.


PREFIX = "APERTURE_"
NAME = "aperture"


def checkout() -> Path | None:
    """Return the folder of the checkout that this package is part of; None if it is installed."""
    folder = Path(__file__).resolve().parents[2]
    return folder if all((folder / name).exists() for name in ("pyproject.toml", "dagster.yaml")) else None


def project_root() -> Path:
    """Return the folder of the checkout.

    Raises:
        OperatorError: the package is installed, and there is none.
    """
    folder = checkout()
    if folder is None:
        raise OperatorError("This needs a checkout of the project; the package is installed without one.")
    return folder


def default_home() -> Path:
    """Return the home when ``APERTURE_HOME`` is not set; a demo has a folder in it."""
    folder = checkout()
    return folder / ".aperture" if folder else user_data_path(NAME, appauthor=False)


def env_file() -> Path:
    """Return the path of ``.env``: in the home, or in a checkout whose home is not elsewhere, in its folder."""
    folder = os.environ.get(PREFIX + "HOME") or checkout() or default_home()
    return Path(folder).expanduser().absolute() / ".env"


def describe_configuration() -> str:
    """Say which file settings are read from, whether it is there, and which one is not read."""
    said = f"{env_file()} ({'read' if env_file().is_file() else 'not there'})"
    ignored = Path.cwd() / ".env"
    # Somebody who knows other programs may have put it there.
    return f"{said}; {ignored} is not read" if ignored.is_file() and ignored != env_file() else said


def start_command() -> str:
    """Return the command that starts the UI and the daemon here."""
    return "make up" if checkout() else "aperture up"


def host_timezone() -> str:
    """The host's time zone by name; UTC when it has none that can be read."""
    for candidate in (os.environ.get("TZ", "").lstrip(":"), str(Path("/etc/localtime").resolve())):
        name = candidate.rpartition("zoneinfo/")[2].replace("Etc/UTC", "UTC")
        # A scheduler cannot use a bare offset file such as "posixrules".
        if name == "UTC" or "/" in name:
            with contextlib.suppress(ValueError, OSError, KeyError):
                return ZoneInfo(name).key
    return "UTC"


class HomeSettings(SettingsGroup):
    """This machine."""

    home: Path | None = None
    """Folder for everything that this machine keeps (database, logs, pictures, backups). Default: `.aperture` in a
    checkout, otherwise `aperture` in the user's data folder (on Linux `~/.local/share/aperture`); while no media server
    is configured, the folder `demo` in it.
    """
    database_url: Secret = None
    """PostgreSQL (13 to 18) to use instead of the embedded one: postgresql://user:password@host/db. Dagster's runs
    and events go to a database beside it, named `db_dagster`.
    """
    secret_key: Secret = None
    """Key with which tokens of Trakt, and addresses that members enter for letters, are encrypted in the database. Make
    one with `python -c "import secrets; print(secrets.token_urlsafe(32))"`, and keep it: with another key, users
    connect with Trakt and enter their addresses again.
    """
    session_key: Secret = None
    """Key from which the web server derives what it signs cookies with, and what is in the addresses of home rows, if
    it has no lasting folder as its home; at least 32 characters, made like the one above. Default: secrets that are
    made in the home. With another key, everybody signs in again.
    """


class UiSettings(SettingsGroup):
    """Members' pages and the Dagster UI of `aperture up`; see [remote access](remote-access.md)."""

    ui_host: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)] = "127.0.0.1"
    """Address that the UI listens on; 0.0.0.0 is every address of this machine."""
    ui_port: int = Field(default=3000, ge=0, le=65535)
    """Port of the UI; 0 is any free one."""
    ui_allowed_hosts: Hosts = ()
    """Further names under which the UI may be opened, such as that of a [reverse proxy](remote-access.md#names); with
    the port, unless it is 80 or 443. Default: the names and addresses of this machine.
    """
    ui_trusted_proxies: Proxies = ()
    """Addresses and networks of the [proxies](remote-access.md#trusted-proxies) that say which client a request comes
    from, besides this machine's own; `gateway` is the host of a container.
    """
    ui_empty_passwords: bool = True
    """Whether members whose account has no password may sign in from the [home network](remote-access.md#signing-in);
    from elsewhere, and as an administrator, nobody can.
    """


class RunSettings(SettingsGroup):
    """Schedules and retries."""

    timezone: TimeZone | None = None
    """Time zone of the schedules. Default: the host's."""
    schedules_enabled: bool = True
    """Whether schedules and sensors start switched on; each can be switched in the UI."""
    schedules: Times = Field(default_factory=dict)
    """When jobs start, if not at their [usual time](jobs.md), as a JSON object of jobs and crons:
    `{"sync_movies": "0 4 * * *"}`. With `off`, the clock does not start a job; it can be started by hand.
    """
    quiet_hours: DaySpan | None = None
    """Hours in which nothing is published on the media server, such as `19:00-23:30`: lists are renewed, and published
    afterwards. Copies and originals still share what was watched, and what you start by hand is written at once.
    """
    http_attempts: int = Field(default=5, ge=1, le=20)
    """Attempts per request, including the first."""
    http_retry_wait_seconds: PositiveFloat = 0.5
    """Wait before the second attempt; it doubles each time, up to 20 s."""
    step_retries: int = Field(default=2, ge=0, le=20)
    """Retries of a step when a service was unavailable."""
    step_retry_wait_seconds: NonNegativeFloat = 60
    """Wait before a step is retried."""

    @property
    def schedule_timezone(self) -> str:
        """Time zone of schedules and of the days of Top Picks."""
        return self.timezone or host_timezone()

    def is_quiet(self, now: datetime) -> bool:
        """Whether ``now`` is within the quiet hours."""
        return self.is_quiet_at(now.astimezone(ZoneInfo(self.schedule_timezone)).time())

    def is_quiet_at(self, moment: time) -> bool:
        """Whether a time of the operator's day is within the quiet hours."""
        if self.quiet_hours is None:
            return False
        start, end = span_of(self.quiet_hours)
        return start <= moment < end if start < end else not end <= moment < start


# Settings of alerts: whom to tell about problems, and how often.


# A part of an address that looks like a token rather than like a word, which logs could contain anywhere.
_TOKEN = re.compile(r"(?=.*[0-9A-Z])[\w.~+-]{8,}|[\w.~+-]{20,}")
_HOST = re.compile(r"localhost|(?=.{1,60}$)[a-z0-9-]+(\.[a-z0-9-]+)+|\[[0-9a-f:]+\]")


class AlertSettings(SettingsGroup):
    """Alerts."""

    alert_urls: Secret = None
    """Addresses that problems are reported to, as [apprise URLs](alerts.md), separated by spaces or line breaks.
    Without one, problems are only logged. The first for mail also sends [letters to members](members.md).
    """
    alert_ui_url: OptionalAddress = None
    """Address at which you, and members, open the pages: for links in alerts and letters."""

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


# Settings of backups.


class BackupSettings(SettingsGroup):
    """Backups of the product's database."""

    backup_folder: Path | None = None
    """Folder for backups, preferably on another disk; accept it once with `aperture backup create --accept-folder`.
    Default: `backups` in APERTURE_HOME.
    """
    backup_keep: int = Field(default=7, ge=1)
    """Number of proven backups to keep. Older ones are deleted after a newer one has been proven."""
    backup_before_migration: bool = True
    """Whether a new version of this program makes a backup before it migrates the schema of the database. If that
    fails, nothing is migrated.
    """


# Settings of housekeeping: how long records of the past are kept.


class HousekeepingSettings(SettingsGroup):
    """Housekeeping. Plays, ratings and requests of those whom the media server has are never deleted, nor are Top Picks
    or the latest state of anything.
    """

    keep_logs_days: PositiveInt = 30
    """Days for which the log of each run is kept, and what its steps printed: long enough to look into a fault that was
    noticed weeks later.
    """
    keep_runs_days: PositiveInt = 90
    """Days for which runs, results of checks and past materializations (the plots on an asset's page) are kept: a
    season, in which trends show. Never shorter than the logs.
    """

    forget_after_days: NonNegativeInt = 90
    """Days after which everything about a user who left the media server is deleted (0: never). Only days count on
    which the server's whole list of users lacks them, and it is said two weeks before.
    """

    @property
    def kept_runs_days(self) -> int:
        """Days for which runs are kept: no log outlives its run."""
        return max(self.keep_runs_days, self.keep_logs_days)
