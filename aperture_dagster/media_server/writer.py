"""Every change that is made on a media server. Nothing else in the product writes to it.

Each method leaves the server in the stated condition and is safe to repeat, unless it says otherwise. Callers compare
first, and write only what differs.
"""

from __future__ import annotations

import base64
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import suppress
from operator import itemgetter
from typing import Any, ClassVar

from aperture_dagster.http.errors import (
    BadAnswer,
    Conflict,
    ListingChanged,
    NotFound,
    PathNotVisible,
    RequestRejected,
    ServiceUnavailable,
)
from aperture_dagster.http.messages import Request, expect
from aperture_dagster.media_server.changes import route, stored_name
from aperture_dagster.media_server.library_options import emby_options, jellyfin_options, merge_options
from aperture_dagster.media_server.list_writer import ListWriter
from aperture_dagster.media_server.listing import id_batches, only_types, parse_all, read_listing
from aperture_dagster.media_server.published_items import (
    artwork_tags,
    parse_media_source,
    parse_published_item,
    parse_published_library,
)
from aperture_dagster.media_server.records import (
    Artwork,
    Listing,
    MediaType,
    OriginalFiles,
    PictureKind,
    PublishedItem,
    PublishedLibrary,
)
from aperture_dagster.media_server.values import parse_id, parse_integer, parse_number, parse_text, require_text

ITEMS_PER_PAGE = 500
LARGEST_PICTURE = 20_000_000
# Largest width in pixels, and format: a logo is transparent.
PICTURE_SIZES: dict[PictureKind, tuple[str, str]] = {
    "Primary": ("600", "Jpg"), "Backdrop": ("1280", "Jpg"), "Logo": ("600", "Png"), "Thumb": ("640", "Jpg"),
}  # fmt: skip
# A listing that a scan changes while it is read is read again.
ATTEMPTS_AT_LISTING = 3
PUBLISHED_FIELDS = ("Path", "SortName")
SCAN_TASK, SCAN_NAME = "RefreshLibrary", "scan media library"
_GROUPING = (
    "EnableGroupingMoviesIntoCollections", "EnableGroupingShowsIntoCollections", "EnableGroupingIntoCollections",
)  # fmt: skip


class MediaServerWriter(ListWriter):
    """Writes to the server that ``reader`` reads, over the same connection.

    What works the same on Jellyfin and Emby is implemented here and in the base classes; for what does not, there is a
    subclass for each server. See :class:`MediaServerChanges` for the arguments.
    """

    # Libraries

    _policy_id: ClassVar[str] = "ItemId"
    _call_id: ClassVar[str] = "ItemId"
    """Fields with a library's ids in users' policies, and in calls that change it."""

    def libraries(self) -> list[PublishedLibrary]:
        """Return all libraries with their options and what the server is doing with them."""
        return parse_all(
            self.reader.library_objects(),
            lambda item: parse_published_library(item, policy_id=self._policy_id, call_id=self._call_id),
            f"{self.reader.product}'s list of libraries",
        )

    def desired_options(self, media_type: MediaType, language: tuple[str | None, str | None]) -> dict[str, Any]:
        """Return the options that a published library must have.

        Merge them into those of a library with :func:`library_options.merge_options`. ``language`` is that of
        :meth:`language_of` for the library with the originals.
        """
        options = emby_options if self.product == "emby" else jellyfin_options
        return options(media_type, language)

    @abstractmethod
    def _creation(self, name: str, media_type: MediaType, options: dict[str, Any], path: str, *, scan: bool) -> Request:
        """Return the request that creates a library."""

    @abstractmethod
    def _deletion(self, library: PublishedLibrary, *, scan: bool) -> Request:
        """Return the request that deletes a library."""

    def create_library(
        self,
        name: str,
        media_type: MediaType,
        path: str,
        *,
        language: tuple[str | None, str | None] = (None, None),
        enabled: bool,
        scan: bool,
    ) -> None:
        """Create a library over one folder, unless there is one already; it may take a minute to get its ``item_id``.

        Args:
            name: without blanks at its ends; characters that servers do not store become blanks.
            media_type: what it holds.
            path: of its folder, as the server sees it.
            language: of metadata, and its country.
            enabled: whether users may see it. Emby cannot hide a library from everybody, and ignores this.
            scan: whether the server scans everything afterwards, and cancels a scan that is running. Up to Jellyfin
                10.10 a library gets its id only then.

        Raises:
            Conflict: the name is used, or the folder is within another library or contains it.
            PathNotVisible: the server does not see the folder.
        """
        name = stored_name(name)
        libraries = self.libraries()
        if any(path in library.locations for library in libraries):
            return
        self._check_free(libraries, name, path)
        options = self.desired_options(media_type, language) | {"PathInfos": [{"Path": path}]}
        request = self._creation(name, media_type, options | self._creation_options(enabled=enabled), path, scan=scan)
        try:
            self._write("library_created", f"create the library {name!r} over {path}", request)
        except (RequestRejected, NotFound) as error:
            raise PathNotVisible(
                f"{self.reader.product} refused the library {name!r} over {path}: most likely it does not see this "
                f"folder. Make the folder available to it, or correct APERTURE_PATH_MAP ({error})."
            ) from None
        except ServiceUnavailable:
            # It may have been created all the same; another attempt would make a second one.
            if self._library_at(path) is None:
                raise
        if self.dry_run:
            return
        made = self._library_at(path)
        if made is None:
            raise BadAnswer(f"{self.reader.product} did not list the library {name!r} after creating it")
        if made.name != name:
            # A used name is no error: the server appends a number.
            self.delete_library(made, scan=False)
            raise Conflict(f"{self.reader.product} named the library {name!r} {made.name!r}; it was deleted again.")

    def _creation_options(self, *, enabled: bool) -> dict[str, Any]:
        """Return options that are set once, when a library is created."""
        return {}

    def _check_free(self, libraries: Sequence[PublishedLibrary], name: str, path: str) -> None:
        for library in libraries:
            if library.name.casefold() == name.casefold():
                raise Conflict(
                    f"The library {library.name!r} on {self.reader.product} was not made here and was left "
                    "alone: rename it, or choose another name in the settings."
                )
            for location in library.locations:
                if self._paths_conflict(path, location):
                    raise Conflict(
                        f"{self.reader.product} would confuse the folder {path} with {location} of the library "
                        f"{library.name!r}: choose another folder with APERTURE_PUBLISH_ROOT."
                    )

    def _paths_conflict(self, one: str, other: str) -> bool:
        """Whether the server takes one folder for a part of the other."""
        one, other = (path.replace("\\", "/").rstrip("/") + "/" for path in (one, other))
        return one.startswith(other) or other.startswith(one)

    def _library_at(self, path: str) -> PublishedLibrary | None:
        return next((library for library in self.libraries() if path in library.locations), None)

    def set_library_options(self, library: PublishedLibrary, options: Mapping[str, Any]) -> None:
        """Replace all options of a library; equal ones are not written.

        Args:
            library: as listed.
            options: a changed copy of ``library.options``.

        Raises:
            RequestRejected: a field of the library's options is missing, or it has no id yet.
        """
        missing = sorted({*library.options, "PathInfos"} - options.keys())
        if missing or not library.call_id or not options.get("PathInfos"):
            raise RequestRejected(
                f"the options of {library.name!r} are incomplete: {', '.join(missing) or 'no folder'}"
            )
        if options != library.options:
            body = {"Id": library.call_id, "LibraryOptions": dict(options)}
            request = self._request("POST", "/Library/VirtualFolders/LibraryOptions", json=body, repeatable=True)
            self._write("library_options", f"change the options of the library {library.name!r}", request)

    def correct_options(
        self, library: PublishedLibrary, media_type: MediaType, language: tuple[str | None, str | None]
    ) -> None:
        """Give a published library the options that it must have; everything else stays as it is.

        Raises:
            RequestRejected: see :meth:`set_library_options`.
        """
        options = merge_options(library.options, self.desired_options(media_type, language))
        self.set_library_options(library, options)

    def delete_library(self, library: PublishedLibrary, *, scan: bool) -> None:
        """Delete a library, not its files; one that is gone is no error.

        Args:
            library: as listed.
            scan: whether the server scans everything afterwards. Before Jellyfin 12 its items stay until then.

        Raises:
            Conflict: another library has its name now; it was not deleted.
        """
        now = next((one for one in self.libraries() if one.name == library.name), None)
        if now is None:
            return
        if now.locations != library.locations:
            raise Conflict(
                f"The library {library.name!r} on {self.reader.product} has other folders than before "
                f"({', '.join(now.locations) or 'none'}); it was not deleted."
            )
        # Gone with the first attempt, whose answer was lost.
        with suppress(NotFound):
            self._write("library_deleted", f"delete the library {library.name!r}", self._deletion(now, scan=scan))

    def language_of(self, library: PublishedLibrary) -> tuple[str | None, str | None]:
        """Return language and country of a library's metadata; None where the server's default applies."""
        options = library.options
        return parse_text(options, "PreferredMetadataLanguage"), parse_text(options, "MetadataCountryCode")

    # Scans

    def refresh_library(self, library: PublishedLibrary) -> None:
        """Have the server compare a library, which has an ``item_id``, with its files.

        This returns at once; ``refresh_status`` shows the end.
        """
        self._refresh(library.item_id, f"refresh the library {library.name!r}", replace=False)

    def read_again(self, item: PublishedItem) -> None:
        """Have the server read the files of an item again, even if none changed, and forget what is in no file.

        This returns at once. Only for items of libraries without fetchers and savers, see :meth:`desired_options`.
        """
        self._refresh(item.server_item_id, f"read the files of {item.name!r} again", replace=True)

    def _refresh(self, item_id: str, what: str, *, replace: bool) -> None:
        mode = "FullRefresh" if replace else "Default"
        query = {
            # Left out, they mean None: new items would be listed without reading their files.
            "MetadataRefreshMode": mode,
            "ImageRefreshMode": mode,
            "ReplaceAllMetadata": str(replace).lower(),
            "ReplaceAllImages": "false",
            **self._refresh_query,
        }
        request = self._request("POST", route("/Items/{}/Refresh", item_id), query, repeatable=True)
        self._write("library_refreshed", what, request)

    _refresh_query: ClassVar[Mapping[str, str]] = {}
    # What has to be requested for the official rating of an item.
    _rating_fields: ClassVar[tuple[str, ...]] = ()

    def scan_progress(self) -> float | None:
        """Return how far the server is with a scan of everything, in percent; None if none is running.

        Refreshes of single libraries are not included: see ``refresh_status`` of :meth:`libraries`.
        """
        tasks = expect(self._get("/ScheduledTasks"), list, f"{self.reader.product}'s list of tasks")
        for task in tasks:
            # Emby's key of the task is not documented.
            is_scan = task.get("Key") == SCAN_TASK or str(task.get("Name")).casefold() == SCAN_NAME
            if is_scan and task.get("State", "Idle") != "Idle":
                return parse_number(task, "CurrentProgressPercentage") or 0.0
        return None

    def start_scan(self) -> None:
        """Have the server scan everything. A scan that is running is cancelled, so wait for its end first."""
        self._write("scan", "scan all libraries", self._request("POST", "/Library/Refresh", patient=True))

    # Items

    def library_items(self, library: PublishedLibrary, item_types: str) -> list[PublishedItem]:
        """Return all items of a library.

        Args:
            library: with an ``item_id``.
            item_types: comma-separated, such as "Movie" or "Series,Episode".

        Raises:
            ListingChanged: the library changed each time while it was read.
            BadAnswer: an item cannot be parsed.
        """
        query = {
            "ParentId": library.item_id,
            "IncludeItemTypes": item_types,
            "Fields": ",".join((*PUBLISHED_FIELDS, *self._rating_fields)),
            "SortBy": "DateCreated,SortName",
            "SortOrder": "Ascending",
        }
        what = f"{self.reader.product}'s list of the library {library.name!r}"
        for _ in range(ATTEMPTS_AT_LISTING):
            listing = Listing()

            def fetch(start: int, overlap: int) -> Any:
                return self._items({**query, "StartIndex": start, "Limit": ITEMS_PER_PAGE + overlap})

            pages = read_listing(fetch, only_types(item_types, parse_published_item), listing, what=what)
            items = [item for page in pages for item in page]
            if listing.problems:
                raise BadAnswer(f"{what} cannot be parsed: {listing.problems[0]}")
            if listing.complete:
                return items
        raise ListingChanged(f"{what} changed each time it was read; a scan may be running.")

    def count_items(self, library: PublishedLibrary, item_types: str) -> int:
        """Return how many items a library has; the arguments are those of :meth:`library_items`."""
        query = {"ParentId": library.item_id, "IncludeItemTypes": item_types, "Limit": 1}
        return parse_integer(self._items(query), "TotalRecordCount") or 0

    def original_files(self, item_ids: Sequence[str]) -> dict[str, OriginalFiles]:
        """Return files and pictures of items by id: all versions, the parts that continue them, files beside them.

        A series has no files of its own. Items that do not exist are missing from the result.
        """
        found: dict[str, OriginalFiles] = {}
        what = f"{self.reader.product}'s list of media sources"
        for ids in id_batches(item_ids):
            answer = self._items({"Ids": ids, "Fields": "MediaSources,Path"})
            for item in expect(answer.get("Items"), list, what):
                item_id = parse_id(expect(item, dict, what).get("Id"))
                sources = [source for source in expect(item.get("MediaSources") or [], list, what) if source]
                parts = self._parts(item_id) if (parse_integer(item, "PartCount") or 1) > 1 else ()
                own = next((one for one in sources if parse_id(one.get("Id")) == item_id), next(iter(sources), None))
                found[item_id] = OriginalFiles(
                    tuple(parse_media_source(one, parts if one is own else ()) for one in sources),
                    parse_text(item.get("ImageTags") or {}, "Primary"),
                    self._artwork(item_id, item) if item.get("Type") in ("Movie", "Series") else (),
                )
        return found

    def _artwork(self, item_id: str, item: dict[str, Any]) -> tuple[Artwork, ...]:
        tags = artwork_tags(item)
        paths = self._artwork_paths(item_id) if tags else {}
        return tuple(Artwork(kind, tag, paths.get(kind)) for kind, tag in tags.items())

    def _artwork_paths(self, item_id: str) -> Mapping[str, str]:
        """Return the files of an item's pictures by kind, as the server sees them, where it says."""
        return {}

    def picture(self, server_item_id: str, kind: PictureKind = "Primary") -> bytes | None:
        """Return a picture of an item in a size for clients; None if there is none."""
        path = route("/Items/{}/Images/{}", server_item_id, kind)
        width, form = PICTURE_SIZES[kind]
        query = self._spell({"MaxWidth": width, "Format": form, "Quality": "90"})
        try:
            return self.transport.send(Request("GET", path, params=query, max_bytes=LARGEST_PICTURE)).body
        except NotFound:
            return None

    def path_exists(self, path: str, *, is_file: bool = True) -> bool:
        """Whether the server sees a file, or else a folder, at a path now, whatever its database says."""
        body = {"Path": path, "IsFile": is_file}
        request = self._request("POST", "/Environment/ValidatePath", json=body, repeatable=True)
        try:
            self.transport.send(request)
        except NotFound:
            return False
        return True

    def _parts(self, item_id: str) -> tuple[str, ...]:
        answer = self._get(route("/Videos/{}/AdditionalParts", item_id))
        return tuple(self._all(answer, lambda item: require_text(item, "Path"), "the parts of a video"))

    @abstractmethod
    def set_user_data(self, user_id: str, item_id: str, data: Mapping[str, Any]) -> None:
        """Change some fields of a user's data of an item, such as ``Played``; the user does not count as active.

        Raises:
            NotFound: there is no such item, or the user does not see it.
            RequestRejected: it is not known how to do that on this server.
        """

    @abstractmethod
    def forget_play(self, user_id: str, item_id: str) -> None:
        """Take a user's plays off an item: mark, position, count and date. Favourite and rating stay.

        The server notes the user as active. No other request takes the date away, without which a home screen would
        offer the series of an episode for ever.

        Raises:
            NotFound: there is no such item, or the user does not see it.
            RequestRejected: it is not known how to do that on this server.
        """

    @abstractmethod
    def set_rating(self, user_id: str, item_id: str, rating: float | None) -> None:
        """Set a user's rating (0-10) of an item, or (None) remove it, and read it back.

        Raises:
            BadAnswer: the server does not show it afterwards.
            NotFound: there is no such item, or the user does not see it.
            RequestRejected: the server keeps no such ratings.
        """

    def set_picture(self, server_item_id: str, content: bytes, content_type: str) -> None:
        """Make ``content`` the primary picture of an item or a studio.

        Raises:
            NotFound: there is no such item.
            RequestRejected: the server does not accept the picture.
            ServiceUnavailable, ServiceRefused: see :class:`Transport`.
        """
        request = Request(
            "POST",
            route("/Items/{}/Images/Primary", server_item_id),
            # Both servers expect the bytes as base64 text.
            content=base64.b64encode(content),
            headers={"Content-Type": content_type},
            repeatable=True,
        )
        self._write("picture", f"set the picture of {server_item_id}", request)

    # Users

    def user_objects(self) -> dict[str, dict[str, Any]]:
        """Return every user by id as the server sends them, with ``Policy`` and ``Configuration``.

        Raises:
            BadAnswer: a user cannot be parsed, or the list changed while it was read.
        """
        page = self.reader.user_page(lambda user: (parse_id(user.get("Id")), user), itemgetter(0))
        if page.problems:
            raise BadAnswer(f"{self.reader.product}'s list of users cannot be parsed: {page.problems[0]}")
        return dict(page.records)

    def set_policy(self, user_id: str, policy: Mapping[str, Any]) -> None:
        """Replace a user's policy.

        Args:
            user_id: of the user.
            policy: a changed copy of the whole ``Policy`` of :meth:`user_objects`, read just before.

        Raises:
            RequestRejected: it is not the whole object. The server would give what is missing its default: everything
                visible, no parental limit, no administrator.
        """
        needed = {"IsAdministrator", "IsDisabled", "EnableAllFolders", "EnabledFolders", *self._policy_needs}
        if missing := sorted(needed - policy.keys()):
            raise RequestRejected(f"the policy of user {user_id} is incomplete: {', '.join(missing)}")
        path = route("/Users/{}/Policy", user_id)
        request = self._request("POST", path, json=dict(policy), repeatable=True)
        self._write("policy", f"change the policy of user {user_id}", request)

    _policy_needs: ClassVar[Sequence[str]] = ()

    def set_configuration(self, user_id: str, configuration: Mapping[str, Any]) -> None:
        """Replace a user's configuration, such as the order of their views.

        Args:
            user_id: of the user.
            configuration: a changed copy of the whole ``Configuration`` of :meth:`user_objects`, read just before.

        Raises:
            RequestRejected: it is empty.
        """
        if not configuration:
            raise RequestRejected(f"the configuration of user {user_id} is empty")
        request = self._configuration_request(user_id, dict(configuration))
        self._write("configuration", f"change the configuration of user {user_id}", request)

    @abstractmethod
    def _configuration_request(self, user_id: str, configuration: dict[str, Any]) -> Request:
        """Return the request that replaces a user's configuration."""

    # The server

    def grouping_enabled(self) -> bool:
        """Whether the server shows users a collection in place of its members, for films or for series."""
        settings = expect(self._get("/System/Configuration"), dict, f"{self.reader.product}'s configuration")
        return any(settings.get(name) is True for name in _GROUPING)

    def plugins(self) -> list[str]:
        """Return the names of the server's plugins."""
        what = f"{self.reader.product}'s list of plugins"
        return self._all(expect(self._get("/Plugins"), list, what), lambda item: require_text(item, "Name"), what)
