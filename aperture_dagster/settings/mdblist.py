"""Settings of MDBList: scores of many sites, keywords, streaming services."""

from pydantic import Field, PositiveFloat, PositiveInt

from aperture_dagster.settings.types import Address, Secret, SettingsGroup


class MdblistSettings(SettingsGroup):
    """MDBList."""

    mdblist_api_key: Secret = Field(default=None, validation_alias="MDBLIST_API_KEY")
    """MDBList API key, for scores of many sites, keywords and streaming services. Without it, they are skipped."""
    mdblist_url: Address = "https://api.mdblist.com"
    """Address of the MDBList API."""
    mdblist_daily_limit: PositiveInt = 1000
    """Requests to MDBList allowed per day (UTC), until MDBList reports the limit of this key itself."""
    mdblist_requests: PositiveInt = 3
    """Requests to MDBList allowed per period."""
    mdblist_period_seconds: PositiveFloat = 1
    """Length of that period."""
    mdblist_batch_size: int = Field(default=100, ge=1, le=200)
    """Titles per request; reduced when MDBList refuses it."""
    mdblist_ttl_days: PositiveFloat = 7
    """Days after which scores are refreshed."""
