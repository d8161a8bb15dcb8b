"""Read from Jellyfin 10.9 to 12."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from functools import partial
from operator import attrgetter, itemgetter
from typing import Any, ClassVar

from aperture_dagster.http.errors import NotFound
from aperture_dagster.http.messages import expect
from aperture_dagster.media_server import values
from aperture_dagster.media_server.items import parse_tags, parse_user, parse_versions
from aperture_dagster.media_server.listing import Parse, id_batches, parse_page, read_listings
from aperture_dagster.media_server.reader import (
    FAVORITES,
    LIKES,
    SINGLE_TYPES,
    STATE_OVERLAP,
    Item,
    MediaServerReader,
    Record,
)
from aperture_dagster.media_server.records import (
    ItemState,
    Listing,
    ParsedPage,
    ServerLibrary,
    ServerUser,
    with_content,
)
from aperture_dagster.model import clean_tags

# Facts about the API that shaped this module:
#
# - The only auth header that every version accepts is ``Authorization: MediaBrowser Token="…"``.
# - Without ``collapseBoxSetItems=false``, version 12 lists a collection in place of its films, and older versions load
#   the whole library for every page.
# - ``minDateLastSavedForUser`` ignores user data, so changes are found with ``sortBy=DatePlayed`` and an early stop. An
#   item marked as played by hand may have no date and sorts last.
# - User data of a series makes versions before 12 count its episodes, so it is read once a day only.
# - Version 12 lists only the primary version of a film, yet reports progress under the version that was played.
# - Nothing tells of a mark as favourite or a like: no log, no date of the user, and a WebSocket only that user's own
#   clients. They are counted for those whose clients have just asked for anything: the date of a device moves with any
#   request, once in three minutes (``AuthorizationContext.cs``).
# - ``Likes`` finds ratings from 6.5 on. ``Dislikes`` finds the same up to 10.11, and all others from 12 on.


class JellyfinReader(MediaServerReader):
    """A Jellyfin server."""

    product = "Jellyfin"
    title_fields = (
        "ProviderIds,Overview,Genres,Tags,Studios,DateCreated,OriginalTitle,Taglines,Path,MediaSourceCount,CustomRating"
    )
    episode_fields = "Path,MediaSourceCount"
    log_query: ClassVar = {"HasUserId": "true"}
    tells_unmarked = False
    listing_query: ClassVar = {
        "CollapseBoxSetItems": "false",
        "ExcludeLocationTypes": "Virtual",
        "EnableTotalRecordCount": "true",
    }

    @staticmethod
    def credentials(api_key: str, extra_headers: Mapping[str, str]) -> tuple[dict[str, str], dict[str, str]]:
        """Return the header with the key, or the query parameter if a reverse proxy needs that header itself.

        Jellyfin reads only the first ``Authorization`` header, ignores it if the scheme is not its own, and then takes
        ``ApiKey`` from the query; from 12 on, other headers are refused (jellyfin/jellyfin v10.9.11 to v12.0-rc5,
        ``Jellyfin.Server.Implementations/Security/AuthorizationContext.cs``). Only the token is sent, because anything
        else would rewrite the key's device record.
        """
        if any(name.lower() == "authorization" for name in extra_headers):
            return {}, {"ApiKey": api_key}
        return {"Authorization": f'MediaBrowser Token="{api_key}"'}, {}

    def users(self) -> ParsedPage[ServerUser]:
        """Return all users. Jellyfin knows no e-mail addresses."""
        page = self.user_page(parse_user, attrgetter("user_id"))
        if any(user.blocked_tags or user.allowed_tags for user in page.records):
            tags = self._library_tags()
            page.records = [apply_library_tags(user, tags) for user in page.records]
        return page

    def last_requests(self) -> dict[str, datetime]:
        """Return when a device of each user last asked for anything; see :meth:`MediaServerReader.last_requests`."""
        what = "Jellyfin's list of devices"
        try:
            answer = expect(self.transport.get_json("/Devices"), dict, what)
        except NotFound:
            # The server says so if it does not know the user of one of them.
            return super().last_requests()
        found: dict[str, datetime] = {}
        for device in parse_page(expect(answer.get("Items"), list, what), parse_device).records:
            if device is not None:
                user_id, at = device
                found[user_id] = max(at, found.get(user_id, at))
        return found

    def _library_tags(self) -> dict[str, tuple[str, ...]]:
        """Return each library's own tags by its id; all items of a library inherit them.

        jellyfin/jellyfin v10.9.11 to v12.0-rc5, ``MediaBrowser.Controller/Entities/BaseItem.cs``: ``GetInheritedTags``.
        """
        ids = [library.library_id for library in self.libraries() if library.library_id]
        return dict.fromkeys(ids, ()) | self._by_id(ids, "Tags", parse_tags)

    def user_page(self, parse: Parse[Record], key: Callable[[Record], str]) -> ParsedPage[Record]:
        """Return all users; the list has no pages."""
        return parse_page(expect(self.transport.get_json("/Users"), list, "Jellyfin's list of users"), parse)

    def library_objects(self) -> list[Any]:
        """Return all libraries as Jellyfin sends them."""
        return expect(self.transport.get_json("/Library/VirtualFolders"), list, "Jellyfin's list of libraries")

    def _library_items(
        self, library: ServerLibrary, item_type: str, fields: str, parse: Parse[Item], listing: Listing
    ) -> Iterator[list[Item]]:
        """Yield the items of a library with the ids of their other versions.

        ``MediaSourceCount`` is sent only for items with several. Their ids make the server open every file, so they are
        requested for those items alone.
        """
        with_versions: list[str] = []

        def parse_and_note(item: dict[str, Any]) -> Item:
            record = parse(item)
            if (values.parse_integer(item, "MediaSourceCount") or 1) > 1:
                with_versions.append(record.server_item_id)
            return record

        for page in super()._library_items(library, item_type, fields, parse_and_note, listing):
            versions = self._by_id(with_versions, "MediaSources", parse_versions)
            yield [
                one._replace(version_ids=versions[one.server_item_id]) if one.server_item_id in versions else one
                for one in page
            ]
            with_versions.clear()

    def _by_id(
        self, item_ids: Sequence[str], fields: str, parse: Parse[tuple[str, tuple[str, ...]]]
    ) -> dict[str, tuple[str, ...]]:
        found: dict[str, tuple[str, ...]] = {}
        for ids in id_batches(item_ids):
            query = {"Ids": ids, "Fields": fields, "EnableUserData": "false"}
            for page in self._pages(query, parse, Listing(), key=itemgetter(0)):
                found.update(page)
        return found

    def all_states(self, user_id: str, listing: Listing) -> Iterator[list[ItemState]]:
        """Yield every item that the user played, started, marked or rated.

        The only filter for ratings finds those from 6.5 on. Lower ones of films that were never played are found among
        all such films, which are read only for users who like one of them: hardly any client can rate.
        """
        movies, never_played = {"IncludeItemTypes": "Movie"}, 0

        def liked(listing: Listing) -> Iterator[list[ItemState]]:
            nonlocal never_played
            for page in self._states(user_id, {"Filters": LIKES, **movies}, listing):
                never_played += sum(not (one.played or one.play_count or one.position_share) for one in page)
                yield page

        yield from read_listings([partial(super().all_states, user_id), liked], listing)
        if never_played:
            unplayed = partial(self._states, user_id, {"Filters": "IsUnplayed", **movies})
            yield from with_content(read_listings([unplayed], listing))

    def changed_states(self, user_id: str, since: datetime, listing: Listing) -> Iterator[list[ItemState]]:
        """Yield what was played since then (newest first), and everything in progress, liked or marked as favourite.

        What was *un*marked or rated low never appears here; the daily full comparison finds it.
        """
        horizon, single = since - STATE_OVERLAP, {"IncludeItemTypes": SINGLE_TYPES}
        newest_first = {"Filters": "IsPlayed", "SortBy": "DatePlayed", "SortOrder": "Descending", **single}
        for page in self._states(user_id, newest_first, listing):
            yield page
            if page and all(state.last_played_at is None or state.last_played_at < horizon for state in page):
                # The rest is older.
                listing.total = listing.seen
                break
        queries = ({"Filters": "IsResumable", **single}, {"Filters": FAVORITES}, {"Filters": LIKES})
        yield from read_listings([partial(self._states, user_id, query) for query in queries], listing)

    def get_items(self, query: Mapping[str, Any], user_id: str | None) -> Any:
        """Return the answer to a query of items; see :meth:`MediaServerReader.get_items`."""
        if user_id is not None:
            query = {**query, "UserId": user_id}
        return self.transport.get_json("/Items", {name[0].lower() + name[1:]: value for name, value in query.items()})


def parse_device(item: dict[str, Any]) -> tuple[str, datetime] | None:
    """Return whose a device is, and when it last asked for anything; None if it does not say."""
    at = values.moment_of(item, "DateLastActivity")
    return None if at is None or not item.get("LastUserId") else (values.parse_id(item["LastUserId"], "LastUserId"), at)


def apply_library_tags(user: ServerUser, tags: Mapping[str, tuple[str, ...]]) -> ServerUser:
    """Apply a user's blocked and allowed tags to the tags of libraries, given by library id."""
    blocked, allowed = clean_tags(user.blocked_tags), clean_tags(user.allowed_tags)
    hidden = {library_id for library_id, own in tags.items() if blocked & clean_tags(own)}
    if hidden:
        visible = tags.keys() if user.all_libraries else user.library_ids
        user = replace(user, all_libraries=False, library_ids=tuple(sorted(set(visible) - hidden)))
    return replace(user, open_library_ids=tuple(sorted(one for one, own in tags.items() if allowed & clean_tags(own))))
