"""Libraries, refreshes and the scan task of Emby, which names libraries by three ids.

Names and bodies are those of the published specifications of 4.8.11 and 4.9; what happens inside is not known, and
assumed to be as in Jellyfin unless clients report otherwise.
"""

from __future__ import annotations

from typing import Any

from starlette.responses import Response

from aperture_dagster.simulator.emby import dto
from aperture_dagster.simulator.emby import dto as ids
from aperture_dagster.simulator.emby.dto import EmbyAccess
from aperture_dagster.simulator.jellyfin import binding
from aperture_dagster.simulator.jellyfin.access import json_object
from aperture_dagster.simulator.jellyfin.binding import NotFoundError
from aperture_dagster.simulator.jellyfin.dto import name_id
from aperture_dagster.simulator.jellyfin.libraries import LibraryEndpoints, replaces
from aperture_dagster.simulator.libraries import COLLECTION_TYPES, complete
from aperture_dagster.simulator.responses import JSONResponse
from aperture_dagster.simulator.service import Operation, Request, Unmodelled, refuse_other_fields
from aperture_dagster.simulator.settings import ServerRules, version_numbers
from aperture_dagster.simulator.world import WorldLibrary

_BODY = frozenset(("Name", "CollectionType", "RefreshLibrary", "Paths", "LibraryOptions"))


class EmbyLibraryEndpoints(LibraryEndpoints):
    """Operations on libraries and scans."""

    def __init__(self, access: EmbyAccess) -> None:
        super().__init__(access)
        self._catalogue = access.state.catalogue
        self._own_rules = ServerRules(True, version_numbers(access.state.settings.emby_version))

    def operations(self) -> list[Operation]:
        """Return the operations."""
        folders = "/Library/VirtualFolders"
        return [
            Operation("GET", f"{folders}/Query", self.query, ("StartIndex", "Limit")),
            Operation("GET", folders, self.listing),
            Operation("POST", folders, self.create, ("name", "collectionType", "refreshLibrary", "paths")),
            Operation("POST", f"{folders}/Delete", self.remove),
            Operation("POST", f"{folders}/LibraryOptions", self.set_options),
            Operation("POST", "/Library/Refresh", self.scan),
            Operation(
                "POST",
                "/Items/{item_id}/Refresh",
                self.refresh,
                ("Recursive", "MetadataRefreshMode", "ImageRefreshMode", "ReplaceAllMetadata", "ReplaceAllImages"),
            ),
            Operation("GET", "/ScheduledTasks", self.tasks),
            Operation("POST", "/Environment/ValidatePath", self.validate_path),
            Operation("GET", "/Plugins", self.plugins),
            Operation("GET", "/System/Configuration", self.configuration),
        ]

    def _require_emby(self) -> None:
        if not self._rules.emby:
            raise Unmodelled("changes of libraries, since SimulatorSettings.media_server is jellyfin")

    def _dtos(self) -> list[dict[str, Any]]:
        return [
            dto.virtual_folder_dto(library, self._catalogue, self._options(library), *self._scans.status(library))
            for library in self._access.folders()
        ]

    def _options(self, library: WorldLibrary) -> dict[str, Any]:
        if self._rules.emby:
            return self._book.options_of(library)
        paths = [{"Path": location} for location in library.locations]
        return complete({"PathInfos": paths, "ContentType": library.collection_type}, self._own_rules)

    def listing(self, request: Request) -> Response:
        """``GET /Library/VirtualFolders``, which works although it is not in the specification."""
        return JSONResponse(self._dtos())

    def query(self, request: Request) -> Response:
        """``GET /Library/VirtualFolders/Query``."""
        return binding.listing(request.query, self._dtos(), list, with_start=False)

    def create(self, request: Request) -> Response:
        """``POST /Library/VirtualFolders``: the type is that of the options, whatever ``CollectionType`` says."""
        self._require_emby()
        query = request.query
        content = json_object(request) if request.content.strip() else {}
        refuse_other_fields(content, _BODY, "a library")
        name = content.get("Name") or query.get("name")
        if not isinstance(name, str) or not name.strip():
            raise Unmodelled("a library without a name")
        kind = str(content.get("CollectionType") or query.get("collectionType") or "").lower()
        if kind and kind not in COLLECTION_TYPES:
            raise binding.invalid("CollectionType", kind)
        options = content.get("LibraryOptions") or {}
        paths = content.get("Paths") or query.split("paths")
        if not options.get("PathInfos"):
            options = {**options, "PathInfos": [{"Path": path} for path in paths]}
        content_type = str(options.get("ContentType") or "")
        refresh = bool(content.get("RefreshLibrary")) or bool(binding.boolean(query, "refreshLibrary"))
        self._book.create(name, content_type, options, refresh=refresh)
        if refresh:
            self._scans.start()
        return Response(status_code=204)

    def _library(self, number: object) -> WorldLibrary:
        """Return the library with this ``Id``, which is not its ``ItemId``. Raises NotFoundError."""
        for library in self._access.libraries():
            if ids.folder_number(self._catalogue, library) == str(number):
                return library
        raise NotFoundError(str(number))

    def remove(self, request: Request) -> Response:
        """``POST /Library/VirtualFolders/Delete``."""
        self._require_emby()
        content = json_object(request)
        refuse_other_fields(content, ("Id", "RefreshLibrary"), "the removal of a library")
        library, refresh = self._library(content.get("Id")), bool(content.get("RefreshLibrary"))
        self._book.remove(library)
        if refresh:
            self._book.validate(removed=True)
            self._scans.start()
        return Response(status_code=204)

    def set_options(self, request: Request) -> Response:
        """``POST /Library/VirtualFolders/LibraryOptions``: the whole object is replaced."""
        self._require_emby()
        content = json_object(request)
        refuse_other_fields(content, ("Id", "LibraryOptions"), "options of a library")
        library, options = self._library(content.get("Id")), content.get("LibraryOptions")
        if not isinstance(options, dict) or self._book.options_of(library).keys() - options.keys():
            raise Unmodelled("a part of the options of a library")
        self._book.set_options(library, options)
        return Response(status_code=204)

    def refresh(self, request: Request, item_id: str) -> Response:
        """``POST /Items/{item_id}/Refresh``: without ``Recursive``, the contents of a library are not scanned."""
        query = request.query
        replace = replaces(query)
        recursive = bool(binding.boolean(query, "Recursive"))
        library = self._access.library(item_id)
        if library is not None:
            if recursive:
                self._scans.refresh(library, replace)
            return Response(status_code=204)
        item = self._access.item(item_id, None)
        if recursive or item.kind in ("Movie", "Episode"):
            self._scans.refresh(item.library, replace, only=item.id)
        return Response(status_code=204)

    def plugins(self, request: Request) -> Response:
        """``GET /Plugins``."""
        return JSONResponse(
            [
                {"Name": name, "Version": "1.0.0.0", "Description": "", "Id": name_id("plugin", name)}
                for name in self._state.settings.plugins
            ]
        )

    def configuration(self, request: Request) -> Response:
        """``GET /System/Configuration``: the parts that clients look at."""
        return JSONResponse(
            {
                "IsStartupWizardCompleted": True,
                "PreferredMetadataLanguage": "en",
                "MetadataCountryCode": "US",
                "ServerName": "Stand-in",
                "UICulture": "en-US",
                "EnableFolderView": False,
            }
        )
