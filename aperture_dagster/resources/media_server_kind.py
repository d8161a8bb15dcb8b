"""Which of the two media servers answers at an address: both tell it to anybody, before any key."""

from __future__ import annotations

from typing import Any, Literal

from aperture_dagster.resources.errors import BadAnswer, NotFound, RequestRejected, ServiceRefused
from aperture_dagster.resources.home_network import DIRECT, Route
from aperture_dagster.resources.transport import Transport, expect

Kind = Literal["jellyfin", "emby"]
# Emby counts versions from 4; Jellyfin, which began as a copy of it, from 10.
FIRST_JELLYFIN = 10
PUBLIC = "/System/Info/Public"


def recognise(url: str, route: Route = DIRECT, **how: Any) -> Kind:
    """Jellyfin or Emby, by what ``/System/Info/Public`` says: only Jellyfin names its product there.

    What cannot be told is taken for Jellyfin; its client then says what is wrong. ``how`` goes to the transport.

    Raises:
        ServiceUnavailable: nothing usable answers.
    """
    with Transport(
        "The media server",
        url,
        connections=1,
        headers=route.headers,
        secrets=route.headers.values(),
        verify=route.verify,
        direct=route.direct,
        address_setting="APERTURE_MEDIA_SERVER_URL",
        **how,
    ) as transport:
        for path in (PUBLIC, f"/emby{PUBLIC}"):
            try:
                info = expect(transport.get_json(path), dict, path)
            except (NotFound, RequestRejected):
                continue
            except (ServiceRefused, BadAnswer):
                break
            return _kind_of(info)
    return "jellyfin"


def _kind_of(info: dict[str, Any]) -> Kind:
    if info.get("ProductName"):
        return "emby" if "emby" in str(info["ProductName"]).lower() else "jellyfin"
    major = str(info.get("Version") or "").partition(".")[0]
    if not info.get("Id") or (major.isdecimal() and int(major) >= FIRST_JELLYFIN):
        return "jellyfin"
    return "emby"
