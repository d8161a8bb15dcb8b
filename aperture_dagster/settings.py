"""Every setting of the product, in one place: name, type, default, one line of why.

A setting comes from the environment (``APERTURE_<NAME>``; the keys of other services under the names that are usual
for them, such as ``TMDB_API_KEY``) or a ``.env`` file, then from ``aperture.toml``, both in the project's root, then
from its default. Secrets come from the environment or ``.env`` alone: a file that is shared is no place for them.
"""

from __future__ import annotations

import contextlib
import difflib
import os
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AliasChoices, Field, SecretStr, ValidationError, ValidationInfo, field_validator
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)
from pydantic_settings import SettingsError as SourceError

PREFIX = "APERTURE_"


class SettingsError(ValueError):
    """A setting is misspelt, of the wrong type or impossible; the message names it and says what is expected."""


def project_root() -> Path:
    """The folder that holds ``dagster.yaml``: the checkout, or the working folder when the package is installed."""
    checkout = Path(__file__).resolve().parent.parent
    return checkout if (checkout / "dagster.yaml").exists() else Path.cwd()


def config_file() -> Path:
    """``aperture.toml`` in the project's root, or the file that ``APERTURE_CONFIG`` names."""
    named = os.environ.get(PREFIX + "CONFIG")
    return Path(named).expanduser() if named else project_root() / "aperture.toml"


def _list_of_names(value: Any) -> Any:
    """Let ``a, b`` in the environment mean what ``["a", "b"]`` means in the file."""
    if not isinstance(value, str):
        return value
    if value.lstrip().startswith("["):
        import json

        # A name may begin with a bracket, too.
        with contextlib.suppress(ValueError):
            return tuple(json.loads(value))
    return tuple(part.strip() for part in value.split(",") if part.strip())


def _http_address(value: str) -> str:
    """The address itself, when paths can be put behind it and it may be shown in messages and logs."""
    from urllib.parse import urlsplit

    if not value.startswith(("http://", "https://")) or value[-3:] == "://":
        raise ValueError("expected an address that begins with http:// or https://")
    try:
        parts = urlsplit(value)
        host, port = parts.hostname, parts.port
    except ValueError:
        raise ValueError("expected an address such as http://192.168.1.10:8096") from None
    if not host or port == 0 or any(character.isspace() for character in value):
        raise ValueError("expected an address such as http://192.168.1.10:8096")
    # Anywhere: a password with a slash in it would pass for the beginning of a path.
    if "@" in value:
        raise ValueError("expected an address without user and password, which would show in logs")
    if "?" in value or "#" in value:
        raise ValueError("expected an address that ends with its path, without ? or # and what follows")
    return value


NameList = Annotated[tuple[str, ...], NoDecode]


class Settings(BaseSettings):
    """The product's settings, checked. Make one with :func:`load_settings`."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, extra="forbid", frozen=True, validate_default=True, populate_by_name=True
    )

    # --- this machine ---------------------------------------------------------------------------------------------
    home: Path | None = Field(
        default=None,
        description="Where this machine keeps everything (database, logs, pictures, backups). Default: `.aperture` in "
        "the project's root; while no media server is configured, `.aperture/demo`.",
    )
    database_url: SecretStr | None = Field(
        default=None,
        description="PostgreSQL (with pgvector) to use instead of the embedded one: postgresql://user:password@host/db.",
    )
    dagster_database_url: SecretStr | None = Field(
        default=None,
        description="Where Dagster keeps runs and events. Default: beside the product's database, named `…_dagster`.",
    )
    timezone: str | None = Field(default=None, description="Time zone of the schedules. Default: the host's.")
    schedules_enabled: bool = Field(
        default=True, description="Whether schedules and sensors start switched on; each can be switched in the UI."
    )

    http_attempts: int = Field(default=5, ge=1, le=20, description="Tries of one request, the first included.")
    http_retry_wait_seconds: float = Field(
        default=0.5, gt=0, description="Wait before the second try; it doubles each time, up to 20 s."
    )
    step_retries: int = Field(
        default=2, ge=0, le=20, description="How often a step is tried again when a service was unavailable."
    )
    step_retry_wait_seconds: float = Field(default=60, ge=0, description="Wait before a step is tried again.")
    run_max_hours: float = Field(
        default=24, gt=0, description="Hours after which a run that another machine started counts as dead."
    )

    # --- the media server -----------------------------------------------------------------------------------------
    media_server_url: str | None = Field(
        default=None, description="Address of the Jellyfin or Emby server, such as http://192.168.1.10:8096."
    )
    media_server_type: Literal["auto", "jellyfin", "emby"] = Field(
        default="auto", description="Which server it is: auto asks it, jellyfin or emby spares the question."
    )
    media_server_api_key: SecretStr | None = Field(
        default=None,
        description="An API key of the server (Jellyfin: Dashboard, API Keys; Emby: Settings, API Keys). "
        "Environment only.",
    )
    media_server_ca_file: Path | None = Field(
        default=None, description="PEM file of the authority that signed the server's certificate, if not a public one."
    )
    media_server_verify_tls: bool = Field(
        default=True, description="Whether the server's certificate is verified; false only in a network you trust."
    )
    media_server_headers: SecretStr | None = Field(
        default=None,
        description="Headers that a reverse proxy in front of the server wants, as a JSON object: "
        '`{"Authorization": "Basic …"}`. Environment only.',
    )
    media_server_proxy: bool = Field(
        default=False,
        description="Whether the environment's proxy (`HTTP_PROXY` …) is used for a server at a private address, too.",
    )
    libraries: NameList = Field(default=(), description="Names of the libraries to read. Default: all.")
    exclude_libraries: NameList = Field(default=(), description="Names of libraries to leave alone.")
    include_users: NameList = Field(default=(), description="Names of the users who take part. Default: all enabled.")
    exclude_users: NameList = Field(default=(), description="Names of users who take no part.")
    user_emails: dict[str, str] = Field(
        default_factory=dict, description="E-mail by user name; wins over what the server says."
    )
    media_server_page_size: int = Field(default=500, ge=1, le=5000, description="Items asked for in one request.")
    media_server_timeout_seconds: float = Field(default=60, gt=0, description="How long one answer may take.")
    removal_limit: float = Field(
        default=0.2,
        ge=0,
        le=1,
        description="Share of a library that may vanish at once. When more than that, and more than 20 titles, are "
        "missing, nothing is removed until it is accepted.",
    )
    tombstone_days: int = Field(
        default=30, ge=0, description="Days for which past plays still show the name of a title that left the server."
    )
    started_share: float = Field(default=0.05, ge=0, le=1, description="Progress from which a title counts as started.")
    history_full_sync_hours: float = Field(
        default=24, ge=0, description="Hours after which a user's whole history is compared, not only what is new."
    )

    # --- TMDb -----------------------------------------------------------------------------------------------------
    tmdb_api_key: SecretStr | None = Field(
        default=None,
        validation_alias=AliasChoices("TMDB_API_KEY", "APERTURE_TMDB_API_KEY", "tmdb_api_key"),
        description="TMDb API read access token, or v3 key. Without it enrichment is skipped. Environment only.",
    )
    tmdb_url: str = Field(default="https://api.themoviedb.org/3", description="Address of the TMDb API.")
    tmdb_language: str = Field(default="en-US", description="Language of titles and texts asked from TMDb.")
    tmdb_requests: int = Field(default=40, ge=1, description="Requests to TMDb allowed per period.")
    tmdb_period_seconds: float = Field(default=10, gt=0, description="Length of that period.")
    tmdb_concurrency: int = Field(default=8, ge=1, le=64, description="Requests to TMDb under way at once.")
    tmdb_ttl_days: float = Field(default=30, gt=0, description="Days after which TMDb's facts are asked for again.")
    tmdb_young_ttl_days: float = Field(default=7, gt=0, description="The same for a title younger than a year.")

    # --- OMDb -----------------------------------------------------------------------------------------------------
    omdb_api_key: SecretStr | None = Field(
        default=None,
        validation_alias=AliasChoices("OMDB_API_KEY", "APERTURE_OMDB_API_KEY", "omdb_api_key"),
        description="OMDb API key: Rotten Tomatoes, Metacritic, IMDb ratings and awards. Without it they are skipped. "
        "Environment only.",
    )
    omdb_url: str = Field(default="https://www.omdbapi.com", description="Address of the OMDb API.")
    omdb_daily_limit: int = Field(
        default=1000, ge=1, description="Requests to OMDb allowed a day (UTC), all runs together; 1,000 are free."
    )
    omdb_concurrency: int = Field(default=3, ge=1, le=16, description="Requests to OMDb under way at once.")
    omdb_ttl_days: float = Field(default=30, gt=0, description="Days after which OMDb's facts are asked for again.")

    # --- MDBList --------------------------------------------------------------------------------------------------
    mdblist_api_key: SecretStr | None = Field(
        default=None,
        validation_alias=AliasChoices("MDBLIST_API_KEY", "APERTURE_MDBLIST_API_KEY", "mdblist_api_key"),
        description="MDBList API key: scores of many sites, keywords, where it streams. Without it they are skipped. "
        "Environment only.",
    )
    mdblist_url: str = Field(default="https://api.mdblist.com", description="Address of the MDBList API.")
    mdblist_daily_limit: int = Field(
        default=1000,
        ge=1,
        description="Requests to MDBList allowed a day (UTC) until it has said itself how many it allows this key.",
    )
    mdblist_requests: int = Field(default=3, ge=1, description="Requests to MDBList allowed per period.")
    mdblist_period_seconds: float = Field(default=1, gt=0, description="Length of that period.")
    mdblist_batch_size: int = Field(
        default=100, ge=1, le=200, description="Titles asked about in one request; made smaller when that is refused."
    )
    mdblist_ttl_days: float = Field(default=7, gt=0, description="Days after which scores are asked for again.")

    # --- studio logos ---------------------------------------------------------------------------------------------
    tmdb_image_url: str = Field(default="https://image.tmdb.org/t/p", description="Address of TMDb's pictures.")
    logo_concurrency: int = Field(default=4, ge=1, le=16, description="Logos downloaded at once.")
    logo_largest_megabytes: float = Field(default=5, gt=0, description="A logo larger than this is refused.")
    set_studio_pictures: bool = Field(
        default=False,
        description="Whether logos become the studios' pictures on the media server.",
    )

    # --- embeddings -----------------------------------------------------------------------------------------------
    embedder: Literal["wordllama", "fastembed", "openai"] = Field(
        default="wordllama",
        description="Who turns texts into vectors: wordllama (local, ships with the package), fastembed (local "
        "transformer, extra `transformer`), openai (any OpenAI-compatible endpoint: OpenAI, Ollama, LM Studio).",
    )
    embedder_model: str | None = Field(
        default=None,
        description="Model of fastembed or the endpoint. Defaults: BAAI/bge-small-en-v1.5, text-embedding-3-small.",
    )
    embedder_url: str = Field(
        default="https://api.openai.com/v1", description="Base address of the OpenAI-compatible endpoint."
    )
    embedder_api_key: SecretStr | None = Field(
        default=None,
        validation_alias=AliasChoices("OPENAI_API_KEY", "APERTURE_EMBEDDER_API_KEY", "embedder_api_key"),
        description="Key of that endpoint, where it wants one. Environment only.",
    )
    embedder_batch_size: int = Field(default=64, ge=1, le=2048, description="Texts sent to the endpoint at once.")

    # --- taste and recommendations --------------------------------------------------------------------------------
    recommendations_per_list: int = Field(default=50, ge=1, le=500, description="Titles per user and media type.")
    diversity: float = Field(
        default=0.1, ge=0, le=1, description="How much unlikeness within a list counts: 0 ranks by score alone."
    )

    crowd_folder: Path | None = Field(
        default=None,
        description="A folder in MovieLens format (ratings.csv with links.csv, or with movies.jsonl; also gzipped): "
        "what other people watched together, worth more than anything else in a small household.",
    )

    # --- Top Picks ------------------------------------------------------------------------------------------------
    top_picks_window_days: int = Field(default=30, ge=1, description="Days of plays that Top Picks look back on.")
    top_picks_per_list: int = Field(default=10, ge=1, le=200, description="Titles per media type in Top Picks.")
    top_picks_minimum_viewers: int = Field(
        default=2, ge=1, description="Viewers that a pick needs; relaxed by itself when too few titles have them."
    )

    @field_validator("libraries", "exclude_libraries", "include_users", "exclude_users", mode="before")
    @classmethod
    def _split_names(cls, value: Any) -> Any:
        return _list_of_names(value)

    @field_validator(
        "database_url",
        "dagster_database_url",
        "media_server_api_key",
        "media_server_headers",
        "tmdb_api_key",
        "omdb_api_key",
        "mdblist_api_key",
        "embedder_api_key",
        mode="before",
    )
    @classmethod
    def _is_secret(cls, value: Any) -> Any:
        # A line break at the end is what files and shells leave; a blank secret is none.
        return value.strip() or None if isinstance(value, str) else value

    @field_validator("media_server_headers")
    @classmethod
    def _are_headers(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and headers_in(value.get_secret_value()) is None:
            raise ValueError('expected a JSON object of names and values, such as {"Authorization": "Basic …"}')
        return value

    @field_validator("media_server_url", "tmdb_url", "omdb_url", "mdblist_url", "tmdb_image_url", "embedder_url")
    @classmethod
    def _is_http_address(cls, value: str | None, about: ValidationInfo) -> str | None:
        if value is None or (not value.strip() and about.field_name == "media_server_url"):
            return None
        return _http_address(value.strip().rstrip("/"))

    @field_validator("timezone")
    @classmethod
    def _is_time_zone(cls, value: str | None) -> str | None:
        if value is None:
            return None
        from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

        try:
            ZoneInfo(value)
        except (ZoneInfoNotFoundError, ValueError, OSError):
            raise ValueError("expected a name such as Europe/Berlin or UTC") from None
        return value

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Overrides first, then the environment, then ``aperture.toml``."""
        return (
            init_settings,
            EnvSettingsSource(settings_cls, env_ignore_empty=True),
            TomlConfigSettingsSource(settings_cls, toml_file=config_file()),
        )

    @property
    def home_path(self) -> Path:
        """The folder that holds everything this machine keeps, absolute."""
        if self.home is not None:
            return self.home.expanduser().resolve()
        root = project_root() / ".aperture"
        return (root if self.media_server_url else root / "demo").resolve()

    @property
    def schedule_timezone(self) -> str:
        """Time zone of schedules and of the days of Top Picks."""
        return self.timezone or host_timezone()

    def secret_values(self) -> list[str]:
        """The configured secrets in clear, for redaction only; also the password in a database's address, and the
        values of headers.
        """
        values = [getattr(self, name) for name in secret_names()]
        secrets = [value.get_secret_value() for value in values if value is not None and value.get_secret_value()]
        parts = [part for secret in secrets for part in [*_passwords_in(secret), *(headers_in(secret) or {}).values()]]
        return secrets + parts


def secret_names() -> list[str]:
    """Names of the settings that hold a secret."""
    return [name for name, field in Settings.model_fields.items() if "SecretStr" in str(field.annotation)]


def headers_in(text: str) -> dict[str, str] | None:
    """Read the headers of a JSON object; None if it is not one, or holds what no header may."""
    import json

    try:
        headers = json.loads(text)
    except ValueError:
        return None
    if not isinstance(headers, dict):
        return None
    for name, value in headers.items():
        is_value = isinstance(value, str) and value.isascii() and value.isprintable() and bool(value.strip())
        if not is_value or not name or not all(letter.isalnum() or letter in "-_" for letter in name):
            return None
    return {name: value.strip() for name, value in headers.items()}


def _passwords_in(address: str) -> list[str]:
    """The password in an address of a database, as it is written there and as it is meant."""
    from urllib.parse import unquote

    user, separator, _ = address.partition("://")[2].rpartition("@")
    written = user.partition(":")[2] if separator else ""
    return sorted({written, unquote(written)} - {""})


def environment_names(name: str) -> list[str]:
    """The environment variables that a setting is read from, the usual one first."""
    alias = Settings.model_fields[name].validation_alias
    if isinstance(alias, AliasChoices):
        return [str(choice) for choice in alias.choices if str(choice).isupper()]
    return [PREFIX + name.upper()]


def host_timezone() -> str:
    """The host's time zone by name; UTC when it has none that can be read."""
    named = os.environ.get("TZ", "").lstrip(":")
    candidates = [named] if named else []
    local = Path("/etc/localtime")
    if local.is_symlink():
        candidates.append(str(local.resolve()).partition("zoneinfo/")[2])
    from zoneinfo import ZoneInfo

    for candidate in candidates:
        try:
            ZoneInfo(candidate)
        except (ValueError, OSError, KeyError):
            continue
        # A bare offset file such as "posixrules" has no meaning to a scheduler.
        if candidate == "UTC" or "/" in candidate:
            return candidate.removeprefix("Etc/") if candidate == "Etc/UTC" else candidate
    return "UTC"


def _read_env_file() -> None:
    """Take what stands in ``.env`` beside ``aperture.toml`` into the environment; what is set already wins.

    Every process must see the same: Dagster reads such a file for some of its processes only.
    """
    path = config_file().with_name(".env")
    if path.is_file():
        from dotenv import dotenv_values

        for name, value in dotenv_values(path).items():
            if value is not None:
                os.environ.setdefault(name, value)


def load_settings(**overrides: Any) -> Settings:
    """Read and check all settings.

    Raises:
        SettingsError: naming the setting, where it came from, what was expected, and the nearest name if misspelt.
    """
    _read_env_file()
    known = {env for name in Settings.model_fields for env in environment_names(name)} | {PREFIX + "CONFIG"}
    strangers = [name for name in os.environ if name.startswith(PREFIX) and name not in known]
    if strangers:
        raise SettingsError(_misspelt(strangers[0], sorted(known), "the environment"))
    _check_file()
    try:
        return Settings(**overrides)
    except ValidationError as error:
        raise SettingsError(_explain(error, overrides)) from None
    except SourceError as error:
        # What it says names the field and not the value.
        raise SettingsError(_explain_source(error)) from None


def _check_file() -> None:
    """Refuse secrets and unknown names in ``aperture.toml`` before pydantic sees them.

    Raises:
        SettingsError: naming the file and the line's key.
    """
    path = config_file()
    if not path.exists():
        return
    import tomllib

    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path} is not valid TOML: {error}") from None
    for name in content:
        if name in secret_names():
            raise SettingsError(
                f"{name} is a secret and stands in {path}: take it out and set {environment_names(name)[0]} "
                "in the environment (or in a .env file that is not shared)."
            )
        if name not in Settings.model_fields:
            raise SettingsError(_misspelt(name, sorted(Settings.model_fields), str(path)))


def _misspelt(name: str, known: list[str], where: str) -> str:
    near = difflib.get_close_matches(name, known, n=1)
    hint = f"Did you mean {near[0]}?" if near else "docs/settings.md lists all settings."
    return f"{name} in {where} is not a setting. {hint}"


def _explain(error: ValidationError, overrides: dict[str, Any]) -> str:
    problem = error.errors(include_input=True, include_url=False)[0]
    first = str(problem["loc"][0]) if problem["loc"] else "?"
    names = [name for name in Settings.model_fields if name == first or first in environment_names(name)]
    name = names[0] if names else first
    if name in overrides:
        where = "given by the program"
    else:
        env = next((env for env in environment_names(name) if os.environ.get(env)), None) if names else None
        where = f"from the environment variable {env}" if env else f"from {config_file()}"
    # An address may hold a password where it should not.
    shown = "" if name in secret_names() or name.endswith("_url") else f" (was {problem['input']!r})"
    return f"Setting {name} {where}: {problem['msg'].removeprefix('Value error, ')}{shown}."


def _explain_source(error: SourceError) -> str:
    """An environment variable that should hold JSON and does not."""
    name = next((name for name in Settings.model_fields if f'"{name}"' in str(error)), "?")
    env = environment_names(name)[0] if name in Settings.model_fields else "the environment"
    return f'Setting {name} from the environment variable {env}: expected JSON, such as {{"name": "value"}}.'
