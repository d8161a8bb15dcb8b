"""Find out whether Jellyfin or Emby answers at an address. Both say so publicly, without a key."""

from __future__ import annotations

from contextlib import closing
from typing import Any, Literal

from aperture_dagster.http.client import ServiceClient
from aperture_dagster.http.errors import (
    BadAnswer,
    NotFound,
    RequestRejected,
    ServiceRefused,
)
from aperture_dagster.http.home_network import Route
from aperture_dagster.http.messages import expect

ServerType = Literal["jellyfin", "emby"]


# Emby counts versions from 4; Jellyfin, which began as a fork of it, from 10.
FIRST_JELLYFIN_MAJOR = 10


PUBLIC_INFO = "/System/Info/Public"


def detect_server_type(url: str, route: Route | None = None, **options: Any) -> ServerType:
    """Return the type of the server at ``url``, from its ``/System/Info/Public``.

    Returns "jellyfin" if in doubt; its client then reports what is wrong. Raises ServiceUnavailable if nothing answers.
    """
    options |= {"route": route, "address_setting": "APERTURE_MEDIA_SERVER_URL"}
    with closing(ServiceClient("The media server", url, **options)) as server:
        for path in (PUBLIC_INFO, f"/emby{PUBLIC_INFO}"):
            try:
                return server_type_of(expect(server.transport.get_json(path), dict, path))
            except (NotFound, RequestRejected):
                continue
            except (ServiceRefused, BadAnswer):
                break
    return "jellyfin"


def server_type_of(info: dict[str, Any]) -> ServerType:
    """Return the type of a server that says this of itself publicly; "jellyfin" if in doubt."""
    # Only Jellyfin names its product here.
    if info.get("ProductName"):
        return "emby" if "emby" in str(info["ProductName"]).lower() else "jellyfin"
    major = str(info.get("Version") or "").partition(".")[0]
    if not info.get("Id") or (major.isdecimal() and int(major) >= FIRST_JELLYFIN_MAJOR):
        return "jellyfin"
    return "emby"
