"""What assets, checks and sensors get, as Dagster resources: what is configured can be read in the UI.

Each class holds the configuration and makes a plain object that tests create without Dagster. A field has the name of
its setting and the value that is set. A run may change numbers, and nothing else: with another address, proxy or check
of certificates, it could send this machine's keys to somebody else. Secrets are not fields: of a key, only whether it
is set is shown.
"""

import functools
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

import dagster as dg
from pydantic import Field

from aperture_dagster.errors import OperatorError
from aperture_dagster.resources.clock import Clock
from aperture_dagster.resources.database import Database
from aperture_dagster.resources.providers import Embedders, MediaServers
from aperture_dagster.resources.redaction import redact
from aperture_dagster.settings import Settings, environment_names, groups, secret_names
from aperture_dagster.settings.reference import descriptions
from aperture_dagster.sources.services import Services
from aperture_dagster.sources.trakt import TraktAccounts

SHOWN_ONLY = "Shown only: a change has no effect."
FIXED = "A run cannot change it."


def _setting(name: str) -> Any:
    """Declare a field with the description of the setting of that name."""
    (group,) = (group for group in groups() if name in group.model_fields)
    text = " ".join(_described(group)[name].split())
    return Field(description=text if _may_change(name) else f"{text} {FIXED}")


def _may_change(name: str) -> bool:
    """Return whether a run may change a setting: numbers do not determine where anything is sent."""
    return Settings.model_fields[name].annotation in (int, float)


@functools.cache
def _described(group: type) -> dict[str, str]:
    # Reading all groups from their sources would take as long again.
    return descriptions(group)


class _Documented:
    """A class whose docstring the UI shows, without the line breaks and indents of the source."""

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        cls.__doc__ = " ".join((cls.__doc__ or "").split())


class SettingsResource(_Documented, dg.ConfigurableResource[Settings]):
    """All settings of the product, from the environment and `aperture.toml`; `docs/settings.md` explains them. They are
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

    media_server_url: str | None = _setting("media_server_url")
    media_server_type: str = _setting("media_server_type")
    media_server_timeout_seconds: float = _setting("media_server_timeout_seconds")
    media_server_verify_tls: bool = _setting("media_server_verify_tls")
    media_server_proxy: bool = _setting("media_server_proxy")
    http_attempts: int = _setting("http_attempts")
    http_retry_wait_seconds: float = _setting("http_retry_wait_seconds")
    credentials: dict[str, str] = Field(description=f"Which credentials are set. {SHOWN_ONLY}")
    settings: dg.ResourceDependency[Settings]
    database: dg.ResourceDependency[Database]

    def create_resource(self, context: dg.InitResourceContext) -> MediaServers:
        """Return the media server as configured."""
        return MediaServers(_apply(self, self.settings), self.database)


class ServicesResource(_Documented, dg.ConfigurableResource[Services]):
    """TMDb, OMDb and MDBList, which give facts about titles, and Seerr, which receives requests. Each is used by one
    run at a time, within its rate limit and daily quota. A source without a key is skipped.
    """

    tmdb_url: str = _setting("tmdb_url")
    tmdb_requests: int = _setting("tmdb_requests")
    omdb_url: str = _setting("omdb_url")
    omdb_daily_limit: int = _setting("omdb_daily_limit")
    mdblist_url: str = _setting("mdblist_url")
    seerr_url: str | None = _setting("seerr_url")
    http_attempts: int = _setting("http_attempts")
    http_retry_wait_seconds: float = _setting("http_retry_wait_seconds")
    credentials: dict[str, str] = Field(description=f"Which keys are set. {SHOWN_ONLY}")
    settings: dg.ResourceDependency[Settings]
    database: dg.ResourceDependency[Database]
    clock: dg.ResourceDependency[Clock]

    def create_resource(self, context: dg.InitResourceContext) -> Services:
        """Return the services as configured."""
        return Services(_apply(self, self.settings), self.database, self.clock)


class TraktResource(_Documented, dg.ConfigurableResource[TraktAccounts]):
    """Accounts on Trakt that users connected with `aperture trakt connect`. Their tokens are encrypted in the
    database.
    """

    trakt_url: str = _setting("trakt_url")
    trakt_write_seconds: float = _setting("trakt_write_seconds")
    http_attempts: int = _setting("http_attempts")
    http_retry_wait_seconds: float = _setting("http_retry_wait_seconds")
    credentials: dict[str, str] = Field(description=f"Which parts of your app on Trakt are set. {SHOWN_ONLY}")
    settings: dg.ResourceDependency[Settings]
    database: dg.ResourceDependency[Database]
    clock: dg.ResourceDependency[Clock]

    def create_resource(self, context: dg.InitResourceContext) -> TraktAccounts:
        """Return the accounts, reached as configured."""
        return TraktAccounts(_apply(self, self.settings), self.database, self.clock)


class EmbeddersResource(_Documented, dg.ConfigurableResource[Embedders]):
    """What turns the texts of titles into vectors: a local model, or any endpoint that speaks OpenAI's protocol. It is
    loaded at first use.
    """

    embedder: str = _setting("embedder")
    embedder_model: str | None = _setting("embedder_model")
    embedder_url: str = _setting("embedder_url")
    embedder_batch_size: int = _setting("embedder_batch_size")
    credentials: dict[str, str] = Field(description=f"Whether the endpoint's key is set. {SHOWN_ONLY}")
    settings: dg.ResourceDependency[Settings]
    of_this_process: dg.ResourceDependency[Embedders]

    def create_resource(self, context: dg.InitResourceContext) -> Embedders:
        """Return the embedder as configured, which is loaded once per process unless the run changes it."""
        configured = _apply(self, self.settings)
        return self.of_this_process if configured == self.settings else Embedders(configured)


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

KEYS = {
    "media_servers": ("media_server_api_key", "media_server_ca_file", "media_server_headers"),
    "services": ("tmdb_api_key", "omdb_api_key", "mdblist_api_key", "seerr_api_key"),
    "trakt": ("trakt_client_id", "trakt_client_secret", "secret_key"),
    "embedders": ("embedder_api_key",),
}
"""The settings of which a resource shows only whether they are set."""


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
        if name in parts:
            made[name] = parts[name]
            continue
        used = {part: one for part, one in made.items() if part in kind.model_fields}
        values = {field: getattr(settings, field) for field in _applied(kind)} | own.get(name, {})
        if name in KEYS:
            values["credentials"] = _keys(settings, *KEYS[name])
        made[name] = kind(**values, **used)
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


def _keys(settings: Settings, *names: str) -> dict[str, str]:
    return {environment_names(name)[0]: "set" if getattr(settings, name) else "not set" for name in names}


def _applied(kind: type[dg.ConfigurableResource]) -> list[str]:
    """Return the fields of a resource that are settings."""
    return [name for name in kind.model_fields if name in Settings.model_fields]


def _apply(resource: dg.ConfigurableResource, settings: Settings) -> Settings:
    """Return the settings with the numbers of the resource, which may have been changed for this run.

    Raises:
        OperatorError: something else was changed.
    """
    given = {name: getattr(resource, name) for name in _applied(type(resource))}
    refused = [name for name, value in given.items() if not _may_change(name) and value != getattr(settings, name)]
    if refused:
        names = " and ".join(environment_names(name)[0] for name in refused)
        raise OperatorError(
            f"A run cannot change {', '.join(refused)}, and nothing was done: otherwise, whoever can start a run could "
            f"have keys sent elsewhere. Remove this from the run's configuration; to change it for all runs, set "
            f"{names} and restart."
        )
    return settings.model_copy(update=given)
