"""Settings of the services that know about titles: TMDb, OMDb and MDBList."""

from pydantic import Field, PositiveInt

from aperture_dagster.settings.types import Address, Secret, SettingsGroup


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
