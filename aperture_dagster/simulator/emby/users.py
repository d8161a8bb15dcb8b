"""Users of Emby: reading them, and writing their policies and configurations."""

from __future__ import annotations

from typing import Any

from starlette.responses import PlainTextResponse, Response

from aperture_dagster.simulator.emby import dto, ids
from aperture_dagster.simulator.emby.access import EmbyAccess
from aperture_dagster.simulator.jellyfin import binding, policies
from aperture_dagster.simulator.jellyfin.access import json_object
from aperture_dagster.simulator.jellyfin.users import UserEndpoints
from aperture_dagster.simulator.responses import JSONResponse
from aperture_dagster.simulator.service import Request
from aperture_dagster.simulator.user_data import ServerUser


class EmbyUserEndpoints(UserEndpoints):
    """Endpoints that read and change users."""

    def __init__(self, access: EmbyAccess, server_id: str) -> None:
        super().__init__(access, server_id, None)

    def _dto(self, user: ServerUser) -> dict[str, Any]:
        names = dto.connect_names(list(self._state.users.values()))
        return dto.user_dto(user, self._state.catalogue, self._server_id, names.get(user.id))

    def query(self, request: Request) -> Response:
        """``GET /Users/Query``."""
        return binding.listing(request.query, self._dtos(request), list, with_start=False)

    def single(self, request: Request, user_id: str) -> Response:
        """``GET /Users/{user_id}``."""
        return JSONResponse(self._dto(self._access.required_user(request, user_id)))

    def set_policy(self, request: Request, user_id: str) -> Response:
        """``POST /Users/{user_id}/Policy``: folders are Guids; other ids are accepted and grant nothing."""
        user = self._access.required_user(request, user_id)
        policy = policies.parse_policy(json_object(request), None)
        refusal = self._refusal(user, policy)
        if refusal is not None:
            return PlainTextResponse(refusal, 403)
        folders = tuple(str(folder).replace("-", "").lower() for folder in policy["EnabledFolders"])
        self._replace_policy(user, policy, folders)
        excluded = [str(name) for name in policy["ExcludedSubFolders"]]
        user.policy.excluded_locations = ids.excluded_locations(self._state.catalogue, excluded)
        return Response(status_code=204)
