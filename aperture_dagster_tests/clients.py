"""Clients of the media server with which members mark what they like."""

from __future__ import annotations

from typing import Any

import httpx

from aperture_dagster.simulator.server import RunningSimulator


class Client:
    """An app in which a member is signed in, on Jellyfin or Emby."""

    def __init__(self, simulator: RunningSimulator, name: str, *, server: str = "jellyfin") -> None:
        self._user = simulator.state.user_named(name)
        self._emby = server == "emby"
        names = f'MediaBrowser Client="web", Device="sofa of {name}", DeviceId="sofa of {name}", Version="1.0"'
        header = "X-Emby-Authorization" if self._emby else "Authorization"
        self._http = httpx.Client(
            base_url=simulator.emby_url if self._emby else simulator.jellyfin_url, headers={header: names}
        )
        password = simulator.state.settings.user_password
        answer = self._http.post("/Users/AuthenticateByName", json={"Username": name, "Pw": password})
        token = answer.raise_for_status().json()["AccessToken"]
        self._http.headers[header] = f'{names}, Token="{token}"'

    def favorite(self, item_id: str, is_favorite: bool = True) -> None:
        """Press the heart of an item, or press it again."""
        path = f"/Users/{self._user.id}/FavoriteItems/{item_id}" if self._emby else f"/UserFavoriteItems/{item_id}"
        self._ask("POST" if is_favorite else "DELETE", path)

    def like(self, item_id: str, likes: bool | None = True) -> None:
        """Give a thumb up or down, or take it back."""
        path = f"/Users/{self._user.id}/Items/{item_id}/Rating" if self._emby else f"/UserItems/{item_id}/Rating"
        if likes is None:
            self._ask("DELETE", path)
        else:
            self._ask("POST", path, likes=str(likes).lower())

    def _ask(self, method: str, path: str, **query: Any) -> None:
        self._http.request(method, path, params=query).raise_for_status()
