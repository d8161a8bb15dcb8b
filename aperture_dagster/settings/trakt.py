"""Settings of Trakt: ratings in step with the operator's own app."""

from pydantic import Field, PositiveFloat

from aperture_dagster.settings.types import Address, OptionalText, Secret, SettingsGroup


class TraktSettings(SettingsGroup):
    """Trakt, as a personal tool for each user's own ratings."""

    trakt_client_id: OptionalText = Field(default=None, validation_alias="TRAKT_CLIENT_ID")
    """Client id of your own Trakt app. Without it, Trakt is off."""
    trakt_client_secret: Secret = Field(default=None, validation_alias="TRAKT_CLIENT_SECRET")
    """Client secret of that app."""
    trakt_url: Address = "https://api.trakt.tv"
    """Address of Trakt's API."""
    trakt_auth_url: Address = "https://auth.trakt.tv"
    """Address at which Trakt signs users in."""
    trakt_write_seconds: PositiveFloat = 1.1
    """Least time between two changes for a user; Trakt allows one per second."""
    trakt_sync_only: bool = False
    """Whether ratings that came from Trakt are only kept in step: they do not shape tastes, and Trakt suggests nothing.
    What was rated there counts as seen in any case.
    """
    ratings_to_server: bool = False
    """Whether ratings given on Trakt or on the command line are also written to Jellyfin (Emby has none to write)."""

    @property
    def ignored_ratings(self) -> tuple[str, ...]:
        """Sources of ratings that do not shape tastes."""
        return ("trakt",) if self.trakt_sync_only else ()
