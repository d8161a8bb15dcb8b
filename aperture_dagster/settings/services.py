"""Settings of the media server and of outside services."""

from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, NonNegativeInt, PositiveFloat, PositiveInt, StringConstraints

from aperture_dagster.settings.types import (
    Address,
    Names,
    OptionalAddress,
    OptionalText,
    Secret,
    SecretHeaders,
    SettingsGroup,
    Share,
    Texts,
)

# Settings of the media server, and which of its libraries and users take part.


class MediaServerSettings(SettingsGroup):
    """The media server."""

    media_server_url: OptionalAddress = None
    """Address of the Jellyfin or Emby server, such as http://192.168.1.10:8096."""
    media_server_public_url: OptionalAddress = None
    """Address at which members' browsers reach the server, if it is another one: for links to titles."""
    media_server_type: Literal["auto", "jellyfin", "emby"] = "auto"
    """Type of the server; auto detects it."""
    media_server_api_key: Secret = None
    """API key of the server (Jellyfin: Dashboard, API Keys; Emby: Settings, API Keys)."""
    media_server_ca_file: Path | None = None
    """PEM file of the authority that signed the server's certificate, if not a public one."""
    media_server_verify_tls: bool = True
    """Whether to verify the server's certificate; switch it off only in a network you trust."""
    media_server_headers: SecretHeaders = None
    """Headers required by a reverse proxy in front of the server, as a JSON object: `{"Authorization": "Basic …"}`."""
    libraries: Names = ()
    """Names of the libraries to read. Default: all."""
    exclude_libraries: Names = ()
    """Names of libraries to leave out."""
    include_users: Names = ()
    """Names of the users who take part. Default: all enabled."""
    exclude_users: Names = ()
    """Names of users who do not take part."""
    user_emails: Texts = Field(default_factory=dict)
    """E-mail addresses by user name; they override those of the server."""
    media_server_timeout_seconds: PositiveFloat = 60
    """Time limit of one request."""


# Settings of Trakt: ratings in step with the operator's own app.


TRAKT_URL = "https://api.trakt.tv"
SIGN_IN_URL = "https://auth.trakt.tv"


class TraktSettings(SettingsGroup):
    """Trakt, as a personal tool for each user's own ratings."""

    trakt_client_id: OptionalText = Field(default=None, validation_alias="TRAKT_CLIENT_ID")
    """Client id of your own Trakt app. Without it, Trakt is off."""
    trakt_client_secret: Secret = Field(default=None, validation_alias="TRAKT_CLIENT_SECRET")
    """Client secret of that app."""
    trakt_url: Address = TRAKT_URL
    """Address of Trakt's API."""
    trakt_sync_only: bool = False
    """Whether ratings that came from Trakt are only kept in step: they do not shape tastes, and Trakt suggests nothing.
    What was rated there counts as seen in any case.
    """
    ratings_to_server: bool = False
    """Whether ratings given on Trakt, on members' pages or on the command line are also written to Jellyfin (Emby has
    none to write).
    """

    @property
    def trakt_sign_in_url(self) -> str:
        """Where users sign in: at a host of its own on Trakt itself, below the API on a stand-in."""
        return SIGN_IN_URL if self.trakt_url == TRAKT_URL else f"{self.trakt_url.rstrip('/')}/auth"

    @property
    def ignored_ratings(self) -> tuple[str, ...]:
        """Sources of ratings that do not shape tastes."""
        return ("trakt",) if self.trakt_sync_only else ()


# Settings of discovery: titles that are not in the library, and requests for them.


def _country(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    code = value.strip().upper()
    # The United Kingdom's code is GB; its domain is uk.
    return "GB" if code == "UK" else code


Country = Annotated[str, BeforeValidator(_country), StringConstraints(pattern=r"^[A-Z]{2}$")]


class DiscoverySettings(SettingsGroup):
    """Discovery: titles that are not in the library."""

    country: Country = "US"
    """The operator's country (ISO 3166, such as US or DE): whose certifications, releases and streaming services
    count.
    """
    discovery_per_list: int = Field(default=50, ge=1, le=500)
    """Suggestions per user and media type."""
    discovery_only_available: bool = True
    """Whether to suggest only what can be watched at home in the operator's country: released digitally or on disc,
    streaming, or long enough in cinemas. Otherwise, what is in cinemas is suggested, too.
    """
    discovery_minimum_votes: NonNegativeInt = 50
    """Votes on TMDb that a suggestion needs; a fifth of that in languages other than English."""
    discovery_exclude_genres: Names = ()
    """Names of genres that are never suggested."""
    discovery_other_languages: Share = 0.1
    """Share of a user's history from which titles of an original language are suggested to them; English always is."""


class SeerrSettings(SettingsGroup):
    """Requests through Seerr."""

    seerr_url: OptionalAddress = None
    """Address of Seerr, Jellyseerr or Overseerr, such as http://192.168.1.10:5055."""
    seerr_api_key: Secret = Field(default=None, validation_alias="SEERR_API_KEY")
    """API key of Seerr (Settings, General)."""
    requests_per_week: int = Field(default=0, ge=0, le=100)
    """Requests per user within seven days up to which the job `send_requests` asks Seerr, once a day, for each user's
    best suggestions; those by command or on members' pages count, too. 0 turns the job off.
    """


# Settings of AI prices: where they are read, and what the configured embedding model costs.


PriceInDollars = Annotated[Decimal, Field(ge=0, le=1000)]


class PricesSettings(SettingsGroup):
    """AI prices."""

    prices_url: OptionalAddress = (
        "https://raw.githubusercontent.com/BerriAI/litellm/main/model_prices_and_context_window.json"
    )
    """Address of a list of the prices of AI models, in the format of LiteLLM's model cost map, which is read once a
    week. `off`: only the prices in the package are used.
    """
    embedder_price: PriceInDollars | None = None
    """What the embeddings endpoint charges, in US dollars per million tokens; replaces any listed price. Set it for an
    endpoint that no list knows, and on Azure, where the configured name is that of a deployment.
    """


# Settings of the services that know about titles: TMDb, OMDb and MDBList.


class EnrichmentSettings(SettingsGroup):
    """Sources of facts about titles."""

    tmdb_api_key: Secret = Field(default=None, validation_alias="TMDB_API_KEY")
    """TMDb API read access token, or v3 key. Without it, enrichment is skipped."""
    tmdb_url: Address = "https://api.themoviedb.org/3"
    """Address of the TMDb API."""
    tmdb_image_url: Address = "https://image.tmdb.org/t/p"
    """Address of TMDb's images."""
    tmdb_language: str = "en-US"
    """Language of titles and texts from TMDb."""
    tmdb_requests: PositiveInt = 40
    """Requests to TMDb allowed per 10 seconds."""
    set_studio_pictures: bool = False
    """Whether studios' logos become their pictures on the media server."""
    omdb_api_key: Secret = Field(default=None, validation_alias="OMDB_API_KEY")
    """OMDb API key, for Rotten Tomatoes, Metacritic, IMDb ratings and awards. Without it, they are skipped."""
    omdb_url: Address = "https://www.omdbapi.com"
    """Address of the OMDb API."""
    omdb_daily_limit: PositiveInt = 1000
    """Requests to OMDb allowed per day (UTC), all runs together; 1,000 are free."""
    mdblist_api_key: Secret = Field(default=None, validation_alias="MDBLIST_API_KEY")
    """MDBList API key, for scores of many sites, keywords and streaming services. Without it, they are skipped."""
    mdblist_url: Address = "https://api.mdblist.com"
    """Address of the MDBList API."""
