"""Write to Emby 4.8 and newer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from aperture_dagster.http.errors import BadAnswer, NotFound, RequestRejected
from aperture_dagster.http.messages import Request, expect
from aperture_dagster.media_server.changes import route
from aperture_dagster.media_server.items import policy_of
from aperture_dagster.media_server.library_options import COLLECTION_TYPES
from aperture_dagster.media_server.records import (
    MediaType,
    PublishedLibrary,
)
from aperture_dagster.media_server.writer import MediaServerWriter

# Facts about the API that shaped this module:
#
# - A library has three ids: one for listings, one for the calls that change it, and its Guid in users' policies. A
#   policy with another id is accepted, and grants nothing.
# - A library without ``ContentType`` is one of mixed content.
# - Parts of the options are not accepted, or reset the others.
# - There is no ``GET /Items/{id}``: a whole item is shown only as a user sees it.


class EmbyWriter(MediaServerWriter):
    """An Emby server."""

    product = "emby"
    _policy_id, _call_id = "Guid", "Id"
    _known_versions = "Known are 4.8 and newer versions of 4."
    _rating_fields = ("OfficialRating",)
    _refresh_query: ClassVar = {"Recursive": "true"}

    @staticmethod
    def _knows(version: tuple[int, ...]) -> bool:
        return (4, 8) <= version < (5,)

    def _whole_item(self, item_id: str, user_id: str | None) -> dict[str, Any] | None:
        """Return an item as its owner or else an administrator sees it."""
        try:
            item = self._get(route("/Users/{}/Items/{}", user_id or self._administrator(), item_id))
        except NotFound:
            return None
        return expect(item, dict, "an item of Emby")

    def _administrator(self) -> str:
        for user_id, user in self.user_objects().items():
            policy = policy_of(user)
            if policy.get("IsAdministrator") is True and policy.get("IsDisabled") is not True:
                return user_id
        raise BadAnswer("Emby lists no administrator")

    def _creation(self, name: str, media_type: MediaType, options: dict[str, Any], path: str, *, scan: bool) -> Request:
        # Older versions read the query, newer ones the body.
        query = {"Name": name, "CollectionType": COLLECTION_TYPES[media_type], "RefreshLibrary": str(scan).lower()}
        if "," not in path:
            query["Paths"] = path
        body = {
            "Name": name,
            "CollectionType": COLLECTION_TYPES[media_type],
            "RefreshLibrary": scan,
            "Paths": [path],
            "LibraryOptions": options,
        }
        return self._request("POST", "/Library/VirtualFolders", query, json=body, repeatable=False, patient=True)

    def _deletion(self, library: PublishedLibrary, *, scan: bool) -> Request:
        body = {"Id": library.call_id, "RefreshLibrary": scan}
        path = "/Library/VirtualFolders/Delete"
        return self._request("POST", path, json=body, repeatable=True, patient=True)

    def _configuration_request(self, user_id: str, configuration: dict[str, Any]) -> Request:
        return self._request("POST", route("/Users/{}/Configuration", user_id), json=configuration, repeatable=True)

    def set_user_data(self, user_id: str, item_id: str, data: Mapping[str, Any]) -> None:
        """Raise RequestRejected."""
        raise RequestRejected("Emby shares what was watched between copies itself, so none was written.")

    def forget_play(self, user_id: str, item_id: str) -> None:
        """Raise RequestRejected."""
        raise RequestRejected("Emby shares what was watched between copies itself, so none was taken off them.")

    def set_rating(self, user_id: str, item_id: str, rating: float | None) -> None:
        """Raise RequestRejected."""
        raise RequestRejected("Emby keeps no ratings from 0 to 10, so none was written.")

    def _playlist_request(self, name: str, user_id: str, item_ids: Sequence[str]) -> Request:
        query = {"Name": name, "Ids": ",".join(item_ids) or None, "MediaType": "Video", "UserId": user_id}
        return self._request("POST", "/Playlists", query, repeatable=False, patient=True)
