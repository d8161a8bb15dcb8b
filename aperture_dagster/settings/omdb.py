"""Settings of OMDb: ratings and awards."""

from pydantic import Field, PositiveFloat, PositiveInt

from aperture_dagster.settings.types import Address, Secret, SettingsGroup


class OmdbSettings(SettingsGroup):
    """OMDb."""

    omdb_api_key: Secret = Field(default=None, validation_alias="OMDB_API_KEY")
    """OMDb API key, for Rotten Tomatoes, Metacritic, IMDb ratings and awards. Without it, they are skipped."""
    omdb_url: Address = "https://www.omdbapi.com"
    """Address of the OMDb API."""
    omdb_daily_limit: PositiveInt = 1000
    """Requests to OMDb allowed per day (UTC), all runs together; 1,000 are free."""
    omdb_concurrency: int = Field(default=3, ge=1, le=16)
    """Concurrent requests to OMDb."""
    omdb_ttl_days: PositiveFloat = 30
    """Days after which OMDb's facts are refreshed."""
