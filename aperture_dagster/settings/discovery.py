"""Settings of discovery: titles that are not in the library, and requests for them."""

from typing import Annotated, Any

from pydantic import BeforeValidator, Field, NonNegativeInt, StringConstraints

from aperture_dagster.settings.types import Names, OptionalAddress, Secret, SettingsGroup, Share


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
    best suggestions; those by command count, too. 0 turns the job off.
    """
    requests_dry_run: bool = True
    """Whether that job only shows what it would request."""
    requests_minimum_score: Share = 0.5
    """Score that a suggestion needs before that job requests it."""
