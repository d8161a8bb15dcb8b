"""What assets, checks and sensors get, as Dagster resources: one for each service, and what all of them stand on.

Each class makes a plain object that tests create without Dagster. The fields of a service are the settings that it
uses, under their names in ``docs/settings.md``. A run can change numbers for itself: limits, attempts, timeouts. It
cannot change anything else, since a run that could name another address, or switch off the check of certificates, could
send this machine's keys to somebody else. Secrets are no fields: only whether they are set is shown.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import urlsplit

import dagster as dg
from pydantic import Field, SecretStr

from aperture_dagster.catalogue.servers import MediaServers
from aperture_dagster.discovery.seerr import SEERR
from aperture_dagster.enrichment.mdblist.source import MDBLIST
from aperture_dagster.enrichment.omdb.source import OMDB
from aperture_dagster.enrichment.tmdb.logos import TMDB_IMAGES
from aperture_dagster.enrichment.tmdb.source import TMDB
from aperture_dagster.http.redaction import redact
from aperture_dagster.instance.private import CopiedResource
from aperture_dagster.model import Clock
from aperture_dagster.postgres.database import Database
from aperture_dagster.prices.refresh import PriceList
from aperture_dagster.settings import Settings, secret_names
from aperture_dagster.taste.configured_embedder import Embedders
from aperture_dagster.trakt.accounts import TraktAccounts
from aperture_dagster.worklist.services import MeteredService, Service

SHOWN_ONLY = "Shown only: a change has no effect."
CHANGEABLE = "A run can change it for itself."
NOT_SET = "not set"
# It names the operator's own app.
SHOWN_AS_SET = frozenset({"trakt_client_id"})


def shown(what: str) -> Any:
    """Declare a field that shows a setting, and that no run can change or has to name."""
    return Field(default=None, description=f"{what} {SHOWN_ONLY}")


def number(what: str, *, least: float | None = None, most: float | None = None, above: float | None = None) -> Any:
    """Declare a field for a number, which a run can change for itself within these limits; None: as in the settings."""
    return Field(default=None, description=f"{what} {CHANGEABLE}", ge=least, le=most, gt=above)


def attempts() -> Any:
    """Declare the field for ``http_attempts``."""
    return number("Attempts per request, including the first.", least=1, most=20)


def first_wait() -> Any:
    """Declare the field for ``http_retry_wait_seconds``."""
    return number("Seconds before the second attempt; the wait doubles each time, up to 20 s.", above=0)


class _Resource(CopiedResource):
    """A class whose docstring the UI shows, without the line breaks and indents of the source."""

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        cls.__doc__ = " ".join((cls.__doc__ or "").split())


class SettingsResource(_Resource, dg.ConfigurableResource[Settings]):
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


class DatabaseResource(_Resource, dg.ConfigurableResource[Database]):
    """The product's PostgreSQL database: library, histories, vectors, lists. It is opened, and its schema
    migrated, at first use.
    """

    server: str = Field(
        description=f"The embedded server of this home, or host and database of APERTURE_DATABASE_URL. {SHOWN_ONLY}"
    )
    settings: dg.ResourceDependency[Settings]

    def create_resource(self, context: dg.InitResourceContext) -> Database:
        """Return the database."""
        return Database(self.settings)


class ClockResource(_Resource, dg.ConfigurableResource[Clock]):
    """The current time, in UTC; days are counted in the time zone of the schedules. Tests set it."""

    timezone: str = Field(description=f"Time zone of the schedules and of the days of Top Picks. {SHOWN_ONLY}")

    def create_resource(self, context: dg.InitResourceContext) -> Clock:
        """Return the clock of this machine."""
        return Clock()


class MediaServersResource(_Resource, dg.ConfigurableResource[MediaServers]):
    """The Jellyfin or Emby server: read for users, titles and histories, written to only by what you turn on. Each
    connection first verifies that it is the server that this home belongs to.
    """

    media_server_url: str | None = shown("Address of the server.")
    media_server_type: str | None = shown("Type of the server; auto detects it.")
    media_server_api_key: str | None = shown("Whether there is an API key.")
    media_server_headers: str | None = shown("Whether there are headers for a reverse proxy.")
    media_server_verify_tls: bool | None = shown("Whether the server's certificate is verified.")
    media_server_ca_file: str | None = shown("File of the authority that signed the certificate.")
    media_server_timeout_seconds: float | None = number("Time limit of one request, in seconds.", above=0)
    http_attempts: int | None = attempts()
    http_retry_wait_seconds: float | None = first_wait()
    settings: dg.ResourceDependency[Settings]
    database: dg.ResourceDependency[Database]

    def create_resource(self, context: dg.InitResourceContext) -> MediaServers:
        """Return the media server."""
        return MediaServers(with_numbers(self, self.settings), self.database)


class _MeteredResource(_Resource, dg.ConfigurableResource[MeteredService[Any]]):
    """A service that is used by one run at a time, within its rate limit and daily quota."""

    service: ClassVar[Service[Any]]
    http_attempts: int | None = attempts()
    http_retry_wait_seconds: float | None = first_wait()
    settings: dg.ResourceDependency[Settings]
    database: dg.ResourceDependency[Database]
    clock: dg.ResourceDependency[Clock]

    def create_resource(self, context: dg.InitResourceContext) -> MeteredService[Any]:
        """Return the service."""
        return MeteredService(self.service, with_numbers(self, self.settings), self.database, self.clock)


class TmdbResource(_MeteredResource):
    """The Movie Database: facts about titles, its own lists, and titles outside the library. Used by one run at a time,
    within its rate limit. Without a key, it is skipped.
    """

    service = TMDB
    tmdb_url: str | None = shown("Address of the API.")
    tmdb_api_key: str | None = shown("Whether there is a key.")
    tmdb_language: str | None = shown("Language of titles and texts.")
    tmdb_requests: int | None = number("Requests allowed per 10 seconds.", least=1)


class TmdbImagesResource(_MeteredResource):
    """The image host of TMDb: logos of studios, and posters of titles that the media server has no picture of. It needs
    no key of its own, but only TMDb says which pictures there are.
    """

    service = TMDB_IMAGES
    tmdb_image_url: str | None = shown("Address of the images.")
    tmdb_api_key: str | None = shown("Whether there is a key for TMDb.")


class OmdbResource(_MeteredResource):
    """OMDb: ratings of Rotten Tomatoes, Metacritic and IMDb, and awards. Used by one run at a time, within its daily
    quota. Without a key, it is skipped.
    """

    service = OMDB
    omdb_url: str | None = shown("Address of the API.")
    omdb_api_key: str | None = shown("Whether there is a key.")
    omdb_daily_limit: int | None = number("Requests allowed per day (UTC), all runs together.", least=1)


class MdblistResource(_MeteredResource):
    """MDBList: scores of many sites, keywords, streaming services, and lists for Top Picks. Used by one run at a time,
    within the daily quota that it reports. Without a key, it is skipped.
    """

    service = MDBLIST
    mdblist_url: str | None = shown("Address of the API.")
    mdblist_api_key: str | None = shown("Whether there is a key.")


class SeerrResource(_MeteredResource):
    """Seerr, Jellyseerr or Overseerr, which receives requests. Used by one run at a time, so that nothing is requested
    twice. Off unless you turn automatic requests on.
    """

    service = SEERR
    seerr_url: str | None = shown("Address of Seerr.")
    seerr_api_key: str | None = shown("Whether there is a key.")


class TraktResource(_Resource, dg.ConfigurableResource[TraktAccounts]):
    """Trakt, and the accounts there that users connected with `aperture trakt connect`. Their tokens are encrypted in
    the database. Without your own app, it is off.
    """

    trakt_url: str | None = shown("Address of the API.")
    trakt_client_id: str | None = shown("Whether there is a client id of your own app.")
    trakt_client_secret: str | None = shown("Whether there is a secret of that app.")
    secret_key: str | None = shown("Whether there is a key that encrypts tokens.")
    trakt_sync_only: bool | None = shown("Whether ratings are only kept in step, and Trakt suggests nothing.")
    http_attempts: int | None = attempts()
    http_retry_wait_seconds: float | None = first_wait()
    settings: dg.ResourceDependency[Settings]
    database: dg.ResourceDependency[Database]
    clock: dg.ResourceDependency[Clock]

    def create_resource(self, context: dg.InitResourceContext) -> TraktAccounts:
        """Return the accounts."""
        return TraktAccounts(with_numbers(self, self.settings), self.database, self.clock)


class EmbedderResource(_Resource, dg.ConfigurableResource[Embedders]):
    """What turns the texts of titles into vectors: a local model, or any endpoint that speaks OpenAI's protocol. It is
    loaded at first use, once per process.
    """

    embedder: str | None = shown("Kind of the embedder: static and fastembed are local, openai is an endpoint.")
    embedder_model: str | None = shown("Its model, unless it is the usual one.")
    embedder_url: str | None = shown("Address of the endpoint, which only openai uses.")
    embedder_api_key: str | None = shown("Whether there is a key for the endpoint.")
    of_this_process: dg.ResourceDependency[Embedders]

    def create_resource(self, context: dg.InitResourceContext) -> Embedders:
        """Return the embedder of this process."""
        return self.of_this_process


class PriceListResource(_Resource, dg.ConfigurableResource[PriceList]):
    """A public list of the prices of AI models, which is read once a week. Without an address, only the prices in the
    package are used.
    """

    prices_url: str | None = shown("Address of the list.")
    http_attempts: int | None = attempts()
    http_retry_wait_seconds: float | None = first_wait()
    settings: dg.ResourceDependency[Settings]

    def create_resource(self, context: dg.InitResourceContext) -> PriceList:
        """Return the list."""
        return PriceList(with_numbers(self, self.settings))


RESOURCES: Mapping[str, type[dg.ConfigurableResource]] = {
    "settings": SettingsResource,
    "database": DatabaseResource,
    "clock": ClockResource,
    "media_servers": MediaServersResource,
    "tmdb": TmdbResource,
    "tmdb_images": TmdbImagesResource,
    "omdb": OmdbResource,
    "mdblist": MdblistResource,
    "seerr": SeerrResource,
    "trakt": TraktResource,
    "embedder": EmbedderResource,
    "ai_price_list": PriceListResource,
}
"""All resources by name; those that others use come first."""


def build_resources(settings: Settings, **parts: Any) -> dict[str, Any]:
    """Build all resources; ``parts`` replaces some by name, also where others use them."""
    own: dict[str, dict[str, Any]] = {
        "settings": {"changed": changed_settings(settings), "home": str(settings.home_path), "values": settings},
        "database": {"server": database_server(settings)},
        "clock": {"timezone": settings.schedule_timezone},
        "embedder": {"of_this_process": Embedders(settings)},
    }
    made: dict[str, Any] = {}
    for name, kind in RESOURCES.items():
        used = {part: resource for part, resource in made.items() if part in kind.model_fields}
        shown = {field: shown_value(settings, field) for field in kind.model_fields if field in Settings.model_fields}
        made[name] = parts[name] if name in parts else kind(**(shown | used | own.get(name, {})))
    return made


def shown_value(settings: Settings, name: str) -> str | bool | int | float:
    """Return a setting as the UI may show it: of a secret, whether it is set."""
    value = getattr(settings, name)
    if isinstance(value, SecretStr):
        value = value.get_secret_value()
    if value is None or value == "":
        return NOT_SET
    if name in SHOWN_AS_SET or name in secret_names():
        return "set"
    if isinstance(value, Path):
        return str(value)
    return redact(value, settings.secret_values()) if isinstance(value, str) else value


def with_numbers(resource: dg.ConfigurableResource[Any], settings: Settings) -> Settings:
    """Return the settings with the numbers of a resource, which a run may have changed, and nothing else of it."""
    numbers = {name: getattr(resource, name) for name in changeable(type(resource))}
    return settings.model_copy(update={name: value for name, value in numbers.items() if value is not None})


def changeable(kind: type[dg.ConfigurableResource[Any]]) -> tuple[str, ...]:
    """Return the names of the fields that a run can change."""
    return tuple(name for name, field in kind.model_fields.items() if field.annotation in (int | None, float | None))


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
