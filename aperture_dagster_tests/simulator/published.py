"""A media server stand-in with a library of a real folder, for the tests of libraries and scans."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx

from aperture_dagster.simulator.server import RunningSimulator

JELLYFINS = ("10.9.11", "10.10.7", "10.11.11", "12.0.0")
ROOT = "/data/lists"
"""Where the server sees the folder of the test."""
NO_FETCHERS = [{"Type": kind, "MetadataFetchers": [], "ImageFetchers": []} for kind in ("Movie", "Series", "Season",
                                                                                      "Episode")]  # fmt: skip
OPTIONS = {"MetadataSavers": [], "EnableAutomaticSeriesGrouping": False, "TypeOptions": NO_FETCHERS}
FIELDS = "Path,ProviderIds,SortName,DateCreated,Overview,MediaSources,Settings,Genres,Tags,People,OriginalTitle"
EMBY_FIELDS = "Path,ProviderIds,SortName,DateCreated,Overview,Genres,ProductionYear,OfficialRating"
DEFAULT = {"metadataRefreshMode": "Default", "imageRefreshMode": "Default"}


class Server:
    """One server as a client sees it, and the folder ``here`` that it sees at `ROOT`."""

    def __init__(self, running: RunningSimulator, here: Path) -> None:
        self.running, self.state, self.here = running, running.state, here
        self.is_emby = self.state.settings.media_server == "emby"
        settings = self.state.settings
        token = settings.emby_key if self.is_emby else settings.jellyfin_key
        header = {"X-Emby-Token": token} if self.is_emby else {"Authorization": f'MediaBrowser Token="{token}"'}
        self.client = httpx.Client(base_url=running.emby_url if self.is_emby else running.jellyfin_url, headers=header)

    # Libraries

    def folders(self) -> dict[str, dict[str, Any]]:
        """Return the libraries by name."""
        return {each["Name"]: each for each in self.client.get("/Library/VirtualFolders").json()}

    def create(
        self, name: str = "Lists", kind: str = "movies", path: str = ROOT, refresh: bool = False, **options: Any
    ) -> httpx.Response:
        """Make a library."""
        given: dict[str, Any] = {"PathInfos": [{"Path": path}], **OPTIONS, **options}
        if self.is_emby:
            content = {"Name": name, "RefreshLibrary": refresh, "LibraryOptions": {"ContentType": kind, **given}}
            return self.client.post("/Library/VirtualFolders", json=content)
        query = {"name": name, "collectionType": kind, "refreshLibrary": str(refresh).lower()}
        return self.client.post("/Library/VirtualFolders", params=query, json={"LibraryOptions": given})

    def scan(self, name: str = "Lists", **modes: str) -> None:
        """Refresh a library, or everything when it has no id yet, and wait for the end."""
        found = self.folders()[name]
        if "ItemId" not in found:
            assert self.client.post("/Library/Refresh").status_code == 204
        else:
            query = {**DEFAULT, **modes, **({"Recursive": "true"} if self.is_emby else {})}
            answer = self.client.post(f"/Items/{found['ItemId']}/Refresh", params=query)
            assert answer.status_code == 204, answer.text
        self.state.wait_for_scans()

    # Files

    def write(self, path: str, text: str = "x") -> Path:
        """Write a file below the folder."""
        file = self.here / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
        return file

    def film(self, entry: str, nfo: str = "", *, target: str | None = None, extension: str = "mkv") -> Path:
        """Make the folder of a film, with a link to a film of the world, unless there is another target."""
        folder = self.here / entry
        folder.mkdir(parents=True)
        self.write("keep.txt")
        if nfo:
            self.write(f"{entry}/movie.nfo", f"<movie>{nfo}</movie>")
        link = folder / f"{entry.rpartition('/')[2]}.{extension}"
        link.symlink_to(self.original() if target is None else target)
        return link

    def original(self, key: str = "movie:900000000") -> str:
        """Return the path of a film of the world."""
        return self.state.catalogue.top_items(key)[0].path

    # Items

    def items(self, name: str | None = "Lists", kind: str = "Movie", user: str | None = None) -> list[dict[str, Any]]:
        """Return the items of a library, or of all, as the server or a user sees them."""
        query = {"recursive": "true", "includeItemTypes": kind, "fields": EMBY_FIELDS if self.is_emby else FIELDS}
        query["GroupItemsIntoCollections" if self.is_emby else "collapseBoxSetItems"] = "false"
        if name is not None:
            query["parentId"] = self.folders()[name]["ItemId"]
        if user is not None:
            query["userId"] = self.state.user_named(user).id
        answer = self.client.get("/Items", params=query)
        assert answer.status_code == 200, answer.text
        return answer.json()["Items"]

    def item(self, name: str = "Lists", kind: str = "Movie") -> dict[str, Any]:
        """Return the only item of a library."""
        (found,) = self.items(name, kind)
        return found

    def played(self, item_id: str, user: str = "never played") -> bool:
        """Return whether a user has played an item."""
        owner = self.state.user_named(user).id
        path = f"/Users/{owner}/Items/{item_id}" if self.is_emby else f"/Items/{item_id}?userId={owner}"
        return self.client.get(path).json()["UserData"]["Played"]
