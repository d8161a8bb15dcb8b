"""Write to Jellyfin 10.9 to 12."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from aperture_dagster.http.errors import BadAnswer
from aperture_dagster.http.messages import Request, expect
from aperture_dagster.media_server.changes import route
from aperture_dagster.media_server.library_options import COLLECTION_TYPES
from aperture_dagster.media_server.records import (
    MediaType,
    PublishedLibrary,
)
from aperture_dagster.media_server.values import parse_number, parse_text
from aperture_dagster.media_server.writer import MediaServerWriter

# Facts about the API that shaped this module (jellyfin/jellyfin v10.9.11 to v12.0-rc5):
#
# - ``GET /Items/{id}`` fails without a user, and an API key has none, so whole items are read by ``GET /Items?ids=``
#   with every field that an update writes (``UserLibraryController.GetItem``, ``ItemUpdateController.UpdateItem``).
# - Paths in the query of a creation are split at commas; those in its body are not.
# - Before 12.1, a folder counts as part of another one if its path *contains* that one's path.
# - Entries of a playlist can be removed with an API key from 10.11 on.
# - ``Rating: null`` leaves a rating as it is; only ``DELETE /UserItems/{id}/Rating`` removes it. A user's token may
#   write to its own user instead of ``userId`` (jellyfin/jellyfin#15733).
# - ``POST`` and ``DELETE /UserPlayedItems`` make the user active, ``POST /UserItems/{id}/UserData`` does not. It leaves
#   a date of a play that is left out, or null, as it is.
# - ``DisplayOrder`` Default exists since 10.10, and 10.11.0 to 10.11.4 ignored it (jellyfin/jellyfin#15179).


# What an update of an item writes. Fields that it leaves alone when they are missing, such as people, are not read.
WHOLE_ITEM = (
    "CustomRating,DateCreated,Genres,OriginalTitle,Overview,ProductionLocations,ProviderIds,Settings,SortName,Studios,"
    "Taglines,Tags"
)


class JellyfinWriter(MediaServerWriter):
    """A Jellyfin server."""

    product = "jellyfin"
    _known_versions = "Known are 10.9 to 12."
    _policy_needs: ClassVar = ("AuthenticationProviderId", "PasswordResetProviderId")

    @staticmethod
    def _knows(version: tuple[int, ...]) -> bool:
        return (10, 9) <= version[:2] <= (10, 11) or version[:1] == (12,)

    @staticmethod
    def _spell(query: Mapping[str, Any]) -> dict[str, Any]:
        return {name[0].lower() + name[1:]: value for name, value in query.items()}

    def _whole_item(self, item_id: str, user_id: str | None) -> dict[str, Any] | None:
        what = "Jellyfin's list of items"
        items = expect(self._items({"Ids": item_id, "Fields": WHOLE_ITEM}).get("Items"), list, what)
        return expect(items[0], dict, what) if items else None

    def _creation_options(self, *, enabled: bool) -> dict[str, Any]:
        return {"Enabled": enabled, "SeasonZeroDisplayName": "Specials"}

    def _creation(self, name: str, media_type: MediaType, options: dict[str, Any], path: str, *, scan: bool) -> Request:
        query = {
            "Name": name,
            "CollectionType": COLLECTION_TYPES[media_type],
            "RefreshLibrary": str(scan).lower(),
        }
        return self._request(
            "POST", "/Library/VirtualFolders", query, json={"LibraryOptions": options}, repeatable=False, patient=True
        )

    def _deletion(self, library: PublishedLibrary, *, scan: bool) -> Request:
        query = {"Name": library.name, "RefreshLibrary": str(scan).lower()}
        return self._request("DELETE", "/Library/VirtualFolders", query, patient=True)

    def _paths_conflict(self, one: str, other: str) -> bool:
        if super()._paths_conflict(one, other):
            return True
        one, other = (path.replace("\\", "/").rstrip("/") for path in (one, other))
        return self.version[:2] < (12, 1) and (f"{other}/" in f"{one}/" or f"{one}/" in f"{other}/")

    def _configuration_request(self, user_id: str, configuration: dict[str, Any]) -> Request:
        query = {"UserId": user_id}
        return self._request("POST", "/Users/Configuration", query, json=configuration, repeatable=True)

    def set_user_data(self, user_id: str, item_id: str, data: Mapping[str, Any]) -> None:
        """Change some fields of a user's data of an item; see :meth:`MediaServerWriter.set_user_data`."""
        path = route("/UserItems/{}/UserData", item_id)
        request = self._request("POST", path, {"UserId": user_id}, json=dict(data), repeatable=True)
        self._write("user_data", f"change {', '.join(data)} of {item_id} for user {user_id}", request)

    def forget_play(self, user_id: str, item_id: str) -> None:
        """Take a user's plays off an item; see :meth:`MediaServerWriter.forget_play`."""
        path = route("/UserPlayedItems/{}", item_id)
        request = self._request("DELETE", path, {"UserId": user_id}, repeatable=True)
        self._write("user_data", f"take the plays of user {user_id} off {item_id}", request)

    def _artwork_paths(self, item_id: str) -> Mapping[str, str]:
        what = "Jellyfin's list of images"
        infos = [expect(one, dict, what) for one in expect(self._get(route("/Items/{}/Images", item_id)), list, what)]
        first = {parse_text(info, "ImageType"): parse_text(info, "Path") for info in reversed(infos)}
        return {kind: path for kind, path in first.items() if kind is not None and path is not None}

    def set_rating(self, user_id: str, item_id: str, rating: float | None) -> None:
        """Set or remove a user's rating of an item; see :meth:`MediaServerWriter.set_rating`."""
        query = {"UserId": user_id}
        if rating is None:
            request = self._request("DELETE", route("/UserItems/{}/Rating", item_id), query, repeatable=True)
        else:
            path = route("/UserItems/{}/UserData", item_id)
            request = self._request("POST", path, query, json={"Rating": float(rating)}, repeatable=True)
        what = "remove the rating" if rating is None else f"set the rating {rating:g}"
        self._write("rating", f"{what} of {item_id} by user {user_id}", request)
        if self.dry_run:
            return
        found = self._get(route("/UserItems/{}/UserData", item_id), query)
        shown = parse_number(expect(found, dict, "Jellyfin's user data"), "Rating")
        if shown != rating:
            raise BadAnswer(
                f"Jellyfin shows {shown or 'no rating'} instead of {rating or 'none'} for user {user_id} after it was "
                "written. Use an API key of the dashboard, not the token of a user."
            )

    def _playlist_request(self, name: str, user_id: str, item_ids: Sequence[str]) -> Request:
        # Left out, IsPublic is true.
        body = {
            "Name": name, "Ids": list(item_ids), "UserId": user_id, "MediaType": "Video", "Users": [],
            "IsPublic": False,
        }  # fmt: skip
        return self._request("POST", "/Playlists", json=body, repeatable=False, patient=True)
