"""Settings of the media server, and which of its libraries and users take part."""

from pathlib import Path
from typing import Literal

from pydantic import Field, PositiveFloat

from aperture_dagster.settings.types import Names, OptionalAddress, Secret, SecretHeaders, SettingsGroup, Texts


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
    media_server_timeout_seconds: PositiveFloat = 60
    """Time limit of one request."""
