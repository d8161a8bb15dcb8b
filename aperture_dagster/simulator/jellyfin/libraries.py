"""Libraries, refreshes, the scan task, plugins and the server's configuration.

Modelled on jellyfin/jellyfin v10.9.11, v10.10.7, v10.11.11 and v12.0-rc5,
``Jellyfin.Api/Controllers/{LibraryStructureController,ItemRefreshController,ScheduledTasksController}.cs``.
"""

from __future__ import annotations

from typing import Any

from starlette.responses import Response

from aperture_dagster.simulator.jellyfin import binding, dto
from aperture_dagster.simulator.jellyfin.access import Access, json_object
from aperture_dagster.simulator.jellyfin.binding import NotFoundError
from aperture_dagster.simulator.libraries import COLLECTION_TYPES
from aperture_dagster.simulator.responses import JSONResponse
from aperture_dagster.simulator.service import Operation, Query, Request, Unmodelled, refuse_other_fields

_TASK_KEY = "RefreshLibrary"
_TASK_ID = "7738148ffcd07979c7ceb148e06b3aed"


class LibraryEndpoints:
    """Operations on libraries and scans."""

    def __init__(self, access: Access) -> None:
        self._access = access
        self._state = access.state
        self._book = access.state.libraries
        self._scans = access.state.scans
        self._rules = access.state.settings.rules

    def operations(self) -> list[Operation]:
        """Return the operations."""
        refresh = ("metadataRefreshMode", "imageRefreshMode", "replaceAllMetadata", "replaceAllImages")
        if self._rules.version >= (10, 10):
            refresh = (*refresh, "regenerateTrickplay")
        folders = "/Library/VirtualFolders"
        return [
            Operation("GET", folders, self.listing),
            Operation("POST", folders, self.create, ("name", "collectionType", "refreshLibrary")),
            Operation("DELETE", folders, self.remove, ("name", "refreshLibrary")),
            Operation("POST", f"{folders}/LibraryOptions", self.set_options),
            Operation("POST", "/Library/Refresh", self.scan),
            Operation("POST", "/Items/{item_id}/Refresh", self.refresh, refresh),
            Operation("GET", "/ScheduledTasks", self.tasks),
            Operation("POST", "/Environment/ValidatePath", self.validate_path),
            Operation("GET", "/Plugins", self.plugins),
            Operation("GET", "/System/Configuration", self.configuration),
        ]

    def _require_jellyfin(self) -> None:
        if self._rules.emby:
            raise Unmodelled("changes of libraries, since SimulatorSettings.media_server is emby")

    def listing(self, request: Request) -> Response:
        """``GET /Library/VirtualFolders``."""
        return JSONResponse(
            [
                dto.virtual_folder_dto(library, self._book.options_of(library), *self._scans.status(library))
                for library in self._access.folders()
            ]
        )

    def create(self, request: Request) -> Response:
        """``POST /Library/VirtualFolders``: the name is in the query, the options are in the body."""
        self._require_jellyfin()
        query = request.query
        name = _raw(query, "name")
        if name is None or name != name.strip():
            raise binding.invalid("name", name)
        kind = (query.get("collectionType") or "").lower()
        if kind and kind not in COLLECTION_TYPES:
            raise binding.invalid("collectionType", kind)
        refresh = bool(binding.boolean(query, "refreshLibrary"))
        content = json_object(request) if request.content.strip() else {}
        refuse_other_fields(content, ("LibraryOptions",), "a library")
        self._book.create(name, kind, content.get("LibraryOptions") or {}, refresh=refresh)
        if refresh:
            self._scans.start()
        return Response(status_code=204)

    def remove(self, request: Request) -> Response:
        """``DELETE /Library/VirtualFolders``."""
        self._require_jellyfin()
        name, refresh = _raw(request.query, "name"), bool(binding.boolean(request.query, "refreshLibrary"))
        self._book.remove(self._book.named(name or ""))
        if refresh:
            self._book.validate(removed=True)
            self._scans.start()
        return Response(status_code=204)

    def set_options(self, request: Request) -> Response:
        """``POST /Library/VirtualFolders/LibraryOptions``: the whole object is replaced."""
        self._require_jellyfin()
        content = json_object(request)
        refuse_other_fields(content, ("Id", "LibraryOptions"), "options of a library")
        wanted = binding.as_guid("$.Id", str(content.get("Id") or "0" * 32))
        library = self._access.library(wanted)
        if library is None:
            raise NotFoundError(wanted)
        self._book.set_options(library, content["LibraryOptions"])
        return Response(status_code=204)

    def scan(self, request: Request) -> Response:
        """``POST /Library/Refresh``: a scan of everything; one that is running is cancelled."""
        self._scans.start()
        return Response(status_code=204)

    def refresh(self, request: Request, item_id: str) -> Response:
        """``POST /Items/{item_id}/Refresh``: of a library, or an item."""
        query = request.query
        replace = replaces(query)
        wanted = binding.as_guid("itemId", item_id)
        library = self._access.library(wanted)
        if library is not None:
            self._scans.refresh(library, replace)
        else:
            item = self._access.item(wanted, None)
            self._scans.refresh(item.library, replace, only=item.id)
        return Response(status_code=204)

    def tasks(self, request: Request) -> Response:
        """``GET /ScheduledTasks``: of all tasks, only the scan of the libraries."""
        return JSONResponse([self._task()])

    def _task(self) -> dict[str, Any]:
        progress, last = self._scans.progress, self._scans.last
        task: dict[str, Any] = {
            "Name": "Scan Media Library",
            "State": "Idle" if progress is None else "Running",
            "Id": _TASK_ID,
            "Triggers": [{"Type": "IntervalTrigger", "IntervalTicks": 432_000_000_000}],
            "Description": "Scans your media library for new files and refreshes metadata.",
            "Category": "Library",
            "IsHidden": False,
            "Key": _TASK_KEY,
        }
        if progress is not None:
            task["CurrentProgressPercentage"] = progress
        if last is not None:
            task["LastExecutionResult"] = {
                "StartTimeUtc": binding.ticks_date(last.started),
                "EndTimeUtc": binding.ticks_date(last.ended),
                "Status": last.status,
                "Name": task["Name"],
                "Key": _TASK_KEY,
                "Id": _TASK_ID,
            }
        return task

    def validate_path(self, request: Request) -> Response:
        """``POST /Environment/ValidatePath``: whether there is a file (``IsFile``), a folder, or either."""
        content = json_object(request)
        path, is_file = content.get("Path"), content.get("IsFile")
        refuse_other_fields(content, ("Path", "IsFile"), "the check of a path")
        if not isinstance(path, str) or is_file not in (None, True, False):
            raise binding.invalid("$.Path", path)
        found = (is_file is not False and self._book.has_file(path)) or (
            is_file is not True and self._book.has_folder(path)
        )
        if not found:
            raise NotFoundError(path)
        return Response(status_code=204)

    def plugins(self, request: Request) -> Response:
        """``GET /Plugins``."""
        return JSONResponse(
            [
                {
                    "Name": name, "Version": "1.0.0.0", "ConfigurationFileName": f"{name.replace(' ', '')}.xml",
                    "Description": "", "Id": dto.name_id("plugin", name), "CanUninstall": True, "HasImage": False,
                    "Status": "Active",
                }
                for name in self._state.settings.plugins
            ]
        )  # fmt: skip

    def configuration(self, request: Request) -> Response:
        """``GET /System/Configuration``: the parts that clients look at."""
        grouped = self._state.settings.group_into_collections
        names = (
            ("EnableGroupingIntoCollections",)
            if self._state.settings.jellyfin_release < (10, 11)
            else ("EnableGroupingMoviesIntoCollections", "EnableGroupingShowsIntoCollections")
        )
        return JSONResponse(
            {
                "IsStartupWizardCompleted": True,
                "PreferredMetadataLanguage": "en",
                "MetadataCountryCode": "US",
                "MinResumePct": 5,
                "MaxResumePct": 90,
                "MinResumeDurationSeconds": 300,
                "LibraryMonitorDelay": 60,
                "ServerName": "Stand-in",
                "UICulture": "en-US",
                "EnableFolderView": False,
                **dict.fromkeys(names, grouped),
                "DisplaySpecialsWithinSeasons": True,
            }
        )


def replaces(query: Query) -> bool:
    """Return whether a refresh reads everything again. Raises Unmodelled for any but the two that clients ask for."""
    given = tuple((query.get(f"{what}RefreshMode") or "None").lower() for what in ("metadata", "image"))
    replace = bool(binding.boolean(query, "replaceAllMetadata"))
    if given != ("fullrefresh" if replace else "default",) * 2:
        raise Unmodelled(f"a refresh with the modes {given}")
    for name in ("replaceAllImages", "regenerateTrickplay"):
        if binding.boolean(query, name):
            raise Unmodelled(f"{name}=true")
    return replace


def _raw(query: Query, name: str) -> str | None:
    """Return a value with its blanks; None when the parameter is absent or empty."""
    return query.raw(name) or None
