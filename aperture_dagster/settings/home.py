"""Settings of this machine: where it keeps things, when it works, how it retries."""

import contextlib
import os
from pathlib import Path
from typing import Annotated
from zoneinfo import ZoneInfo

from pydantic import Field, NonNegativeFloat, PositiveFloat, StringConstraints

from aperture_dagster.settings.types import Hosts, Names, Secret, SettingsGroup, TimeZone


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
    shared_folder: Path | None = None
    """Folder for files that belong to all hosts, if there are several ([which](several-hosts.md#files)); every host
    must see it. Default: the home.
    """
    database_url: Secret = None
    """PostgreSQL (with pgvector) to use instead of the embedded one: postgresql://user:password@host/db."""
    dagster_database_url: Secret = None
    """Database for Dagster's runs and events. Default: beside the product's database, named `…_dagster`."""
    secret_key: Secret = None
    """Key with which tokens (of Trakt) are encrypted in the database. Make one with
    `python -c "import secrets; print(secrets.token_urlsafe(32))"`, and keep it: without it, users connect again.
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


class RunSettings(SettingsGroup):
    """Schedules and retries."""

    timezone: TimeZone | None = None
    """Time zone of the schedules. Default: the host's."""
    schedules_enabled: bool = True
    """Whether schedules and sensors start switched on; each can be switched in the UI."""
    schedules_off: Names = ()
    """Jobs that the clock does not start, such as `generate_discovery_suggestions`; they can be started by hand."""
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
