"""Read from Emby 4.8 and newer."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from operator import attrgetter
from typing import Any, ClassVar
from urllib.parse import quote

from aperture_dagster.http.errors import BadAnswer, NotFound
from aperture_dagster.http.messages import expect
from aperture_dagster.media_server.items import parse_library, parse_user, policy_of
from aperture_dagster.media_server.listing import Parse, parse_all, read_listing
from aperture_dagster.media_server.reader import STATE_OVERLAP, MediaServerReader, Record
from aperture_dagster.media_server.records import (
    ItemState,
    Listing,
    ParsedPage,
    ServerLibrary,
    ServerUser,
)
from aperture_dagster.media_server.values import parse_id, parse_text, parse_texts

# Facts about the API that shaped this module:
#
# - Hardly any field is returned unless requested, not even the play count.
# - A library has one id for listing (``ItemId``) and another in users' policies (``Guid``); its folders have ids of
#   their own, which policies write as ``Guid_Id``.
# - Without ``GroupItemsIntoCollections=false`` a collection may be listed in place of its films.
# - No parameter leaves out virtual items (episodes known from metadata only); ``LocationType`` identifies them.
# - Any request makes its user active, as in the last version whose source was published (3.5.2, ``AuthService.cs``).
# - ``MinDateLastSavedForUser`` considers the user's own data, so a single listing returns every change, unmarked items
#   included. Versions of a film share user data by their provider ids.


PREFIX = "/emby"


class EmbyReader(MediaServerReader):
    """An Emby server; its address may or may not end in ``/emby``."""

    product = "Emby"
    title_fields = (
        "ProviderIds,Overview,Genres,Tags,Studios,DateCreated,OriginalTitle,Taglines,Path,ProductionYear,"
        "PremiereDate,CommunityRating,CriticRating,OfficialRating,Status"
    )
    episode_fields = "Path,PremiereDate"
    state_fields = "Path,UserDataPlayCount,UserDataLastPlayedDate"
    listing_query: ClassVar = {"GroupItemsIntoCollections": "false"}
    tells_unmarked = True

    @staticmethod
    def credentials(api_key: str, extra_headers: Mapping[str, str]) -> tuple[dict[str, str], dict[str, str]]:
        """Return Emby's own header, which no reverse proxy needs."""
        return {"X-Emby-Token": api_key}, {}

    def _system_info(self) -> Any:
        """Request the system info, first without and then with the prefix; later requests use what worked."""
        try:
            return self.transport.get_json("/System/Info")
        except NotFound:
            if self.transport.base_url.endswith(PREFIX):
                raise
        # The server answers with and without the prefix; a reverse proxy may forward only one of them.
        self.transport.base_url += PREFIX
        return self.transport.get_json("/System/Info")

    def users(self) -> ParsedPage[ServerUser]:
        """Return all users, with the library ids of :meth:`libraries` and the paths of excluded folders."""
        page = self.user_page(parse_emby_user, attrgetter("user_id"))
        libraries = [] if all(user.all_libraries for user in page.records) else self._libraries_with_guids()
        ids = {guid: library.library_id for library, guid in libraries if guid and library.library_id}
        paths = self._folder_paths() if any(user.excluded_folders for user in page.records) else {}
        page.records = [
            replace(
                user,
                library_ids=tuple(sorted(ids.get(folder, folder) for folder in user.library_ids)),
                # A folder that no longer exists excludes nothing.
                excluded_folders=tuple(sorted({paths[one] for one in user.excluded_folders if one in paths})),
            )
            for user in page.records
        ]
        return page

    def _libraries_with_guids(self) -> list[tuple[ServerLibrary, str | None]]:
        """Return all libraries with their ids in users' policies."""
        return parse_all(self.library_objects(), parse_library_with_guid, "Emby's list of libraries")

    def _folder_paths(self) -> dict[str, str]:
        """Return the paths of the libraries' folders, by their names in users' policies."""
        what = "Emby's list of folders"
        answer = expect(self.transport.get_json("/Library/SelectableMediaFolders"), list, what)
        paths: dict[str, str] = {}
        for library in answer:
            guid = parse_id(expect(library, dict, what).get("Guid"), "Guid")
            for folder in expect(library.get("SubFolders") or [], list, what):
                path = parse_text(expect(folder, dict, what), "Path")
                if path is not None:
                    paths[f"{guid}_{folder.get('Id')}"] = path
        return paths

    def user_page(self, parse: Parse[Record], key: Callable[[Record], str]) -> ParsedPage[Record]:
        """Return all users; see :meth:`MediaServerReader.user_page`."""

        def fetch(start: int, overlap: int) -> Any:
            return self.transport.get_json("/Users/Query", {"StartIndex": start, "Limit": self.page_size + overlap})

        what, listing = "Emby's list of users", Listing()
        users = [user for page in read_listing(fetch, parse, listing, what=what, key=key) for user in page]
        without_id = len(listing.problems) - len(listing.unreadable_ids)
        if listing.shifted or listing.seen + without_id < (listing.total or 0):
            raise BadAnswer(f"{what} changed while it was read.")
        return ParsedPage(users, listing.problems, listing.total, listing.unreadable_ids)

    def library_objects(self) -> list[Any]:
        """Return all libraries as Emby sends them."""
        what = "Emby's list of libraries"
        answer = expect(self.transport.get_json("/Library/VirtualFolders/Query"), dict, what)
        return expect(answer.get("Items"), list, what)

    def changed_states(self, user_id: str, since: datetime, listing: Listing) -> Iterator[list[ItemState]]:
        """Yield all states that were saved since then, unmarked items included."""
        horizon = (since - STATE_OVERLAP).astimezone(UTC)
        return self._states(user_id, {"MinDateLastSavedForUser": f"{horizon:%Y-%m-%dT%H:%M:%SZ}"}, listing)

    def get_items(self, query: Mapping[str, Any], user_id: str | None) -> Any:
        """Return the answer to a query of items; see :meth:`MediaServerReader.get_items`."""
        path = "/Items" if user_id is None else f"/Users/{quote(user_id, safe='')}/Items"
        return self.transport.get_json(path, query)


def parse_emby_user(item: dict[str, Any]) -> ServerUser:
    """Parse a user; ``excluded_folders`` are still the names that policies use.

    The name of a linked Emby Connect account is often an e-mail address. Allowed tags are ``IncludeTags``; older
    servers have one list, ``BlockedTags``, which holds the allowed tags if ``IsTagBlockingModeInclusive`` is set.
    """
    user, policy = parse_user(item), policy_of(item)
    blocked, allowed = user.blocked_tags, parse_texts(policy, "IncludeTags")
    if policy.get("IsTagBlockingModeInclusive") is True and not allowed:
        blocked, allowed = (), blocked
    excluded = [name.partition("_") for name in parse_texts(policy, "ExcludedSubFolders")]
    return replace(
        user,
        email_hint=parse_text(item, "ConnectUserName"),
        blocked_tags=blocked,
        allowed_tags=allowed,
        excluded_folders=tuple(f"{parse_id(guid)}_{folder}" for guid, _, folder in excluded),
    )


def parse_library_with_guid(item: dict[str, Any]) -> tuple[ServerLibrary, str | None]:
    """Parse a library; return it with its id in users' policies, if it has one."""
    return parse_library(item), parse_id(item["Guid"], "Guid") if item.get("Guid") is not None else None
