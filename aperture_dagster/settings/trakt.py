"""Settings of Trakt: ratings in step with the operator's own app."""

from pydantic import Field

from aperture_dagster.settings.types import Address, OptionalText, Secret, SettingsGroup

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
    """Whether ratings given on Trakt or on the command line are also written to Jellyfin (Emby has none to write)."""

    @property
    def trakt_sign_in_url(self) -> str:
        """Where users sign in: at a host of its own on Trakt itself, below the API on a stand-in."""
        return SIGN_IN_URL if self.trakt_url == TRAKT_URL else f"{self.trakt_url.rstrip('/')}/auth"

    @property
    def ignored_ratings(self) -> tuple[str, ...]:
        """Sources of ratings that do not shape tastes."""
        return ("trakt",) if self.trakt_sync_only else ()
