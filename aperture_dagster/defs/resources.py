"""What assets, checks and sensors get, as Dagster resources.

Each class makes a plain object that tests create without Dagster. They are configured by the settings alone, which the
page of the resource ``settings`` shows: a run that could name another address, proxy or check of certificates could
send this machine's keys to somebody else. Secrets are not fields: only whether they are set is shown.
"""

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

import dagster as dg
from pydantic import Field

from aperture_dagster.catalogue.servers import MediaServers
from aperture_dagster.http.errors import redact
from aperture_dagster.model import Clock
from aperture_dagster.postgres.database import Database
from aperture_dagster.ratings.accounts import TraktAccounts
from aperture_dagster.settings import Settings, secret_names
from aperture_dagster.taste.embedder import Embedders
from aperture_dagster.worklist.services import Services

SHOWN_ONLY = "Shown only: a change has no effect."


class _Documented:
    """A class whose docstring the UI shows, without the line breaks and indents of the source."""

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        cls.__doc__ = " ".join((cls.__doc__ or "").split())


class SettingsResource(_Documented, dg.ConfigurableResource[Settings]):
    """All settings of the product, from the environment and `.env`; `docs/settings.md` explains them. They are
    read when the program starts.
    """

    changed: dict[str, str] = Field(
        description=f"Settings that differ from their defaults, those with a secret by name only. {SHOWN_ONLY}"
    )
    home: str = Field(description=f"Folder that holds everything this machine keeps. {SHOWN_ONLY}")
    values: dg.ResourceDependency[Settings]

    def create_resource(self, context: dg.InitResourceContext) -> Settings:
        """Return the settings."""
        return self.values


class DatabaseResource(_Documented, dg.ConfigurableResource[Database]):
    """The product's PostgreSQL database with pgvector: library, histories, vectors, lists. It is opened, and its schema
    migrated, at first use.
    """

    server: str = Field(
        description=f"The embedded server of this home, or host and database of APERTURE_DATABASE_URL. {SHOWN_ONLY}"
    )
    settings: dg.ResourceDependency[Settings]

    def create_resource(self, context: dg.InitResourceContext) -> Database:
        """Return the database."""
        return Database(self.settings)


class ClockResource(_Documented, dg.ConfigurableResource[Clock]):
    """The current time, in UTC; days are counted in the time zone of the schedules. Tests set it."""

    timezone: str = Field(description=f"Time zone of the schedules and of the days of Top Picks. {SHOWN_ONLY}")

    def create_resource(self, context: dg.InitResourceContext) -> Clock:
        """Return the clock of this machine."""
        return Clock()


class MediaServersResource(_Documented, dg.ConfigurableResource[MediaServers]):
    """The Jellyfin or Emby server: read for users, titles and histories, written to only by what you turn on. Each
    connection first verifies that it is the server that this home belongs to.
    """

    settings: dg.ResourceDependency[Settings]
    database: dg.ResourceDependency[Database]

    def create_resource(self, context: dg.InitResourceContext) -> MediaServers:
        """Return the media server."""
        return MediaServers(self.settings, self.database)


class ServicesResource(_Documented, dg.ConfigurableResource[Services]):
    """TMDb, OMDb and MDBList, which give facts about titles, and Seerr, which receives requests. Each is used by one
    run at a time, within its rate limit and daily quota. A source without a key is skipped.
    """

    settings: dg.ResourceDependency[Settings]
    database: dg.ResourceDependency[Database]
    clock: dg.ResourceDependency[Clock]

    def create_resource(self, context: dg.InitResourceContext) -> Services:
        """Return the services."""
        return Services(self.settings, self.database, self.clock)


class TraktResource(_Documented, dg.ConfigurableResource[TraktAccounts]):
    """Accounts on Trakt that users connected with `aperture trakt connect`. Their tokens are encrypted in the
    database.
    """

    settings: dg.ResourceDependency[Settings]
    database: dg.ResourceDependency[Database]
    clock: dg.ResourceDependency[Clock]

    def create_resource(self, context: dg.InitResourceContext) -> TraktAccounts:
        """Return the accounts."""
        return TraktAccounts(self.settings, self.database, self.clock)


class EmbeddersResource(_Documented, dg.ConfigurableResource[Embedders]):
    """What turns the texts of titles into vectors: a local model, or any endpoint that speaks OpenAI's protocol. It is
    loaded at first use, once per process.
    """

    of_this_process: dg.ResourceDependency[Embedders]

    def create_resource(self, context: dg.InitResourceContext) -> Embedders:
        """Return the embedder of this process."""
        return self.of_this_process


RESOURCES: Mapping[str, type[dg.ConfigurableResource]] = {
    "settings": SettingsResource,
    "database": DatabaseResource,
    "clock": ClockResource,
    "media_servers": MediaServersResource,
    "services": ServicesResource,
    "trakt": TraktResource,
    "embedders": EmbeddersResource,
}
"""All resources by name; those that others use come first."""


def build_resources(settings: Settings, **parts: Any) -> dict[str, Any]:
    """Build all resources; ``parts`` replaces some by name, also where others use them."""
    own: dict[str, dict[str, Any]] = {
        "settings": {"changed": changed_settings(settings), "home": str(settings.home_path), "values": settings},
        "database": {"server": database_server(settings)},
        "clock": {"timezone": settings.schedule_timezone},
        "embedders": {"of_this_process": Embedders(settings)},
    }
    made: dict[str, Any] = {}
    for name, kind in RESOURCES.items():
        used = {part: one for part, one in made.items() if part in kind.model_fields}
        made[name] = parts[name] if name in parts else kind(**own.get(name, {}), **used)
    return made


def changed_settings(settings: Settings) -> dict[str, str]:
    """Return the settings that differ from their defaults; secrets and what is in them are left out."""
    secrets, hidden = set(secret_names()), settings.secret_values()
    return {
        name: "set" if name in secrets else redact(str(value), hidden)
        for name, field in Settings.model_fields.items()
        if (value := getattr(settings, name)) != field.get_default(call_default_factory=True)
    }


def database_server(settings: Settings) -> str:
    """Return where the product's database is, without user and password."""
    if settings.database_url is None:
        return "embedded"
    url = urlsplit(settings.database_url.get_secret_value())
    return f"{url.hostname or 'localhost'}{url.path}"
