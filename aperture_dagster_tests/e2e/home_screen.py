"""What a member's home screen shows, as a client asks for it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import httpx

from aperture_dagster_tests.e2e.publishing import Publishing

KEY = {"Authorization": 'MediaBrowser Token="demo-jellyfin-key"'}


@dataclass
class HomeScreen:
    """The home screen of one user on Jellyfin."""

    place: Publishing
    name: str

    @property
    def user(self) -> Any:
        """The user, as the stand-in has it."""
        return self.place.state.user_named(self.name)

    def _get(self, path: str, **query: Any) -> Any:
        url = f"{self.place.simulator.jellyfin_url}{path}"
        return httpx.get(url, params={"userId": self.user.id, **query}, headers=KEY).raise_for_status().json()

    def row(self, library: str, limit: int = 20) -> list[str]:
        """*Recently Added in …*; clients leave out the rows of excluded libraries."""
        library_id = self.place.libraries()[library].item_id
        excluded = {one.replace("-", "") for one in self.user.configuration.get("LatestItemsExcludes", ())}
        if library_id in excluded:
            return []
        return [item["Name"] for item in self._get("/Items/Latest", parentId=library_id, limit=limit)]

    def continues(self) -> list[tuple[str, bool]]:
        """*Continue Watching*: what it shows, and whether that is a published copy."""
        items = self._get("/UserItems/Resume", mediaTypes="Video", fields="Path")["Items"]
        return sorted((_named(item), self._is_copy(item)) for item in items)

    def next_up(self) -> list[tuple[str, bool]]:
        """*Next Up*, without what is in progress, as the web client asks: likewise."""
        items = self._get("/Shows/NextUp", enableResumable="false", fields="Path")["Items"]
        return sorted((_named(item), self._is_copy(item)) for item in items)

    @staticmethod
    def _is_copy(item: dict[str, Any]) -> bool:
        return item["Path"].startswith("/srv/aperture/")


def _named(item: dict[str, Any]) -> str:
    if item["Type"] != "Episode":
        return item["Name"]
    return f"{item['SeriesName']} S{item['ParentIndexNumber']}E{item['IndexNumber']}"
