"""Settings of the media server, and which of its libraries and users take part."""

from collections.abc import Iterable
from pathlib import Path
from typing import Literal

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat

from aperture_dagster.library.people import User, participants
from aperture_dagster.settings.types import Names, OptionalAddress, Secret, SecretHeaders, SettingsGroup, Share, Texts


class MediaServerSettings(SettingsGroup):
    """The media server."""

    media_server_url: OptionalAddress = None
    """Address of the Jellyfin or Emby server, such as http://192.168.1.10:8096."""
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
    media_server_proxy: bool = False
    """Whether to use the environment's proxy (`HTTP_PROXY` …) even for a server at a private address."""
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
    media_server_page_size: int = Field(default=500, ge=1, le=5000)
    """Items per request."""
    media_server_timeout_seconds: PositiveFloat = 60
    """Time limit of one request."""
    removal_limit: Share = 0.2
    """Share of a library that may disappear at once. When more than that, and more than 20 titles, are missing,
    nothing is removed until it is accepted.
    """
    tombstone_days: NonNegativeInt = 30
    """Days for which past plays still show the name of a title that left the server."""
    started_share: Share = 0.05
    """Progress from which a title counts as started."""
    history_full_sync_hours: NonNegativeFloat = 24
    """Hours after which a user's whole history is compared, not only what is new."""

    def participants(self, users: Iterable[User]) -> list[User]:
        """Return the users who take part."""
        return participants(users, include=self.include_users, exclude=self.exclude_users)
