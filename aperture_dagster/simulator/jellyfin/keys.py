"""API keys of a media server, which its administrators make, list and revoke.

Modelled on jellyfin/jellyfin ``Jellyfin.Api/Controllers/ApiKeyController.cs`` with
``Jellyfin.Server.Implementations/Security/AuthenticationManager.cs``, and for Emby on the operations of the same names
in MediaBrowser/Emby.SDK. Both answer a new key with 204 alone, and list the keys in clear.
"""

from __future__ import annotations

import hashlib

from starlette.responses import Response

from aperture_dagster.simulator.jellyfin import binding
from aperture_dagster.simulator.jellyfin.access import Access
from aperture_dagster.simulator.jellyfin.binding import ArgumentError
from aperture_dagster.simulator.responses import JSONResponse
from aperture_dagster.simulator.service import Operation, Request

NOBODY = "00000000000000000000000000000000"


class KeyEndpoints:
    """Endpoints of API keys. ``parameter`` is the name of an app's name."""

    def __init__(self, access: Access, parameter: str = "app") -> None:
        self._access, self._parameter = access, parameter

    def operations(self) -> list[Operation]:
        """Return the operations."""
        return [
            Operation("GET", "/Auth/Keys", self.listing),
            Operation("POST", "/Auth/Keys", self.make, (self._parameter,)),
            Operation("DELETE", "/Auth/Keys/{key}", self.revoke),
        ]

    def listing(self, request: Request) -> Response:
        """``GET /Auth/Keys``: all keys, in clear."""
        keys = [
            {
                "Id": number,
                "AccessToken": token,
                "DeviceId": "",
                "AppName": name,
                "AppVersion": "",
                "DeviceName": "",
                "UserId": NOBODY,
                "IsActive": False,
                "DateCreated": binding.ticks_date(created),
                "DateLastActivity": binding.ticks_date(created),
            }
            for number, (token, (name, created)) in enumerate(self._access.keys.items())
        ]
        return JSONResponse({"Items": keys, "TotalRecordCount": len(keys), "StartIndex": 0})

    def make(self, request: Request) -> Response:
        """``POST /Auth/Keys``: a key for an app; several may have the same name."""
        name = request.query.get(self._parameter)
        if not name:
            raise ArgumentError("The app field is required.")
        keys = self._access.keys
        token = hashlib.md5(f"key {len(keys)} of {name}".encode(), usedforsecurity=False).hexdigest()
        keys[token] = (name, self._access.state.clock.now())
        return Response(status_code=204)

    def revoke(self, request: Request, key: str) -> Response:
        """``DELETE /Auth/Keys/{key}``: 204 also for a key that there is not."""
        self._access.keys.pop(key, None)
        return Response(status_code=204)
