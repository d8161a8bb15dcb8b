"""Settings of TMDb: facts about titles, and logos of studios."""

from pydantic import Field, PositiveFloat, PositiveInt

from aperture_dagster.settings.types import Address, Secret, SettingsGroup


class TmdbSettings(SettingsGroup):
    """TMDb."""

    tmdb_api_key: Secret = Field(default=None, validation_alias="TMDB_API_KEY")
    """TMDb API read access token, or v3 key. Without it, enrichment is skipped."""
    tmdb_url: Address = "https://api.themoviedb.org/3"
    """Address of the TMDb API."""
    tmdb_language: str = "en-US"
    """Language of titles and texts from TMDb."""
    tmdb_requests: PositiveInt = 40
    """Requests to TMDb allowed per period."""
    tmdb_period_seconds: PositiveFloat = 10
    """Length of that period."""
    tmdb_concurrency: int = Field(default=8, ge=1, le=64)
    """Concurrent requests to TMDb."""
    tmdb_ttl_days: PositiveFloat = 30
    """Days after which TMDb's facts are refreshed."""
    tmdb_young_ttl_days: PositiveFloat = 7
    """The same for a title younger than a year."""


class LogoSettings(SettingsGroup):
    """Studio logos."""

    tmdb_image_url: Address = "https://image.tmdb.org/t/p"
    """Address of TMDb's images."""
    logo_concurrency: int = Field(default=4, ge=1, le=16)
    """Concurrent downloads of logos."""
    logo_largest_megabytes: PositiveFloat = 5
    """Size above which a logo is refused."""
    set_studio_pictures: bool = False
    """Whether logos become the studios' pictures on the media server."""
