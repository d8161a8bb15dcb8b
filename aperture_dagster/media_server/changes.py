"""The one way in which anything is written to a media server: versions, dry runs, counting and logging."""

from __future__ import annotations

import logging
import re
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, ClassVar, Literal, TypeVar
from urllib.parse import quote

from aperture_dagster.http.client import ServiceClient
from aperture_dagster.http.errors import BadAnswer, RequestRejected, UnknownServerVersion
from aperture_dagster.http.messages import Answer, Request, expect
from aperture_dagster.media_server.listing import id_batches, parse_all
from aperture_dagster.media_server.reader import MediaServerReader
from aperture_dagster.media_server.records import ServerVersion

log = logging.getLogger(__name__)


Record = TypeVar("Record")


# A change of libraries makes the server stop a running scan, which can take minutes, before it answers.
PATIENT_SECONDS = 300.0


class MediaServerChanges(ServiceClient, ABC):
    """Requests to a media server that read raw objects and write them back.

    Query parameters are written as Emby spells them. Objects are read, changed and written as the server sends them, so
    that fields unknown to us survive: both servers replace the whole object, and reset what is missing.

    Args:
        reader: of the same server; requests use its connection.
        dry_run: whether writes are only counted and logged.

    Attributes:
        writes: number of writes by kind, those of a dry run included.
    """

    product: ClassVar[Literal["jellyfin", "emby"]]

    def __init__(self, reader: MediaServerReader, *, dry_run: bool = False) -> None:
        self.transport = reader.transport
        self.reader = reader
        self.dry_run = dry_run
        self.writes: Counter[str] = Counter()
        self._known_version: tuple[int, ...] | None = None

    def server(self) -> ServerVersion:
        """Return product, version and clock of the server.

        Raises:
            UnknownServerVersion: this version was never looked at; it could misunderstand what is written.
        """
        version = self._known_version = self._read_version()
        answer = self.transport.send(Request("GET", "/System/Info/Public"))
        return ServerVersion(self.product, version, _date_of(answer))

    @property
    def version(self) -> tuple[int, ...]:
        """The server's version. Raises as :meth:`server`."""
        if self._known_version is None:
            self._known_version = self._read_version()
        return self._known_version

    # What the servers do differently

    @property
    def assigns_ids_at_once(self) -> bool:
        """Whether a library has its id as soon as it is created, rather than after a scan of everything."""
        return self.product == "emby" or self.version >= (10, 11)

    @property
    def can_disable(self) -> bool:
        """Whether a library can be hidden from everybody while it is prepared: ``Enabled`` in its options."""
        return self.product == "jellyfin"

    @property
    def keeps_ratings(self) -> bool:
        """Whether a user can rate from 0 to 10. Emby has thumbs, and what a number would do is not known."""
        return self.product == "jellyfin"

    @property
    def can_remove_playlist_entries(self) -> bool:
        """Whether an API key removes entries of a playlist; if not, delete the playlist and create it again."""
        return self.product == "emby" or self.version >= (10, 11)

    @property
    def keeps_collection_order(self) -> bool:
        """Whether a collection can be shown in the order of its members."""
        return self.product == "jellyfin" and self.version >= (10, 10) and not (10, 11) <= self.version < (10, 11, 5)

    @property
    def lists_collections_in_order(self) -> bool:
        """Whether the members of a collection are listed in the order of adding; of Emby it is not known."""
        return self.product == "jellyfin" and self.version < (12,)

    def _read_version(self) -> tuple[int, ...]:
        # From the reader, since it finds out which prefix an Emby server needs.
        text = (self.reader.last_identity or self.reader.identity()).version
        version = tuple(int(part) for part in re.findall(r"\d+", text.partition("-")[0])[:4])
        if not self._knows(version):
            raise UnknownServerVersion(
                f"{self.reader.product} {text or 'of unknown version'} is a version that nothing here was made for, so "
                f"nothing was changed on it. {self._known_versions} Look for a newer release of aperture-dagster."
            )
        return version

    _known_versions: ClassVar[str]

    @staticmethod
    @abstractmethod
    def _knows(version: tuple[int, ...]) -> bool:
        """Whether the server of this version is known to behave as this client expects."""

    @staticmethod
    def _spell(query: Mapping[str, Any]) -> dict[str, Any]:
        """Return query parameters as this server spells them."""
        return dict(query)

    def _write(self, kind: str, what: str, request: Request) -> Answer | None:
        """Send a request that changes the server; None in a dry run. ``what`` is logged."""
        assert self.version
        self.writes[kind] += 1
        log.info("%s: %s%s", self.reader.product, "would " if self.dry_run else "", what)
        return None if self.dry_run else self.transport.send(request)

    def _request(
        self,
        method: str,
        path: str,
        query: Mapping[str, Any] | None = None,
        *,
        json: Any = None,
        repeatable: bool | None = None,
        patient: bool = False,
    ) -> Request:
        """Make a request; ``patient`` ones may start or stop a scan."""
        return Request(
            method,
            path,
            params=self._spell({name: value for name, value in (query or {}).items() if value is not None}) or None,
            json=json,
            repeatable=repeatable,
            timeout_seconds=PATIENT_SECONDS if patient else None,
        )

    def _get(self, path: str, query: Mapping[str, Any] | None = None) -> Any:
        return self.transport.get_json(path, self._spell(query or {}))

    def _items(self, query: Mapping[str, Any], user_id: str | None = None) -> dict[str, Any]:
        """Return the answer to a query of items: everything, or what a user sees.

        Jellyfin 12 lists collections in place of their members unless told otherwise.
        """
        query = {"Recursive": "true", "EnableUserData": "false", **self.reader.listing_query, **query}
        return expect(self.reader.get_items(query, user_id), dict, f"{self.reader.product}'s list of items")

    def _all(self, answer: Any, parse: Callable[[dict[str, Any]], Record], what: str) -> list[Record]:
        """Parse a list completely, since what is missing from it would be taken for deleted."""
        items = answer.get("Items") if isinstance(answer, dict) else answer
        return parse_all(items, parse, what)

    def _write_batches(self, kind: str, what: str, make: Callable[[str], Request], ids: Sequence[str]) -> None:
        """Write ids that are only accepted in the query, a batch at a time.

        Args:
            kind: counted for each batch.
            what: for the log, with ``{}`` for the number of ids.
            make: return the request for a batch of ids, joined with commas.
            ids: all of them.
        """
        for batch in id_batches(ids):
            self._write(kind, what.format(batch.count(",") + 1), make(batch))

    @abstractmethod
    def _whole_item(self, item_id: str, user_id: str | None) -> dict[str, Any] | None:
        """Return an item with every field that an update writes, or None if there is no such item."""

    def _update_item(self, kind: str, what: str, item: dict[str, Any]) -> None:
        """Write an item back.

        Raises:
            BadAnswer: the server did not say whether the item is locked. An update without it would unlock the item and
                all members of a collection.
        """
        if not isinstance(item.get("LockData"), bool):
            raise BadAnswer(
                f"{item.get('Name')!r} cannot be updated: {self.reader.product} does not say if it is locked"
            )
        self._write(kind, what, self._request("POST", route("/Items/{}", item["Id"]), json=item, repeatable=True))


def route(pattern: str, *ids: str) -> str:
    """Fill ids into a path."""
    for one in ids:
        if not one.strip():
            raise RequestRejected(f"{pattern}: an id is empty")
    return pattern.format(*(quote(one, safe="") for one in ids))


def stored_name(name: str) -> str:
    """Return a name as the servers store it, in a folder: blanks in place of what no folder's name may contain."""
    return re.sub(r'["<>|:*?\\/\x00-\x1f]', " ", name).strip()


def _date_of(answer: Answer) -> datetime | None:
    try:
        moment = parsedate_to_datetime(answer.headers.get("date", ""))
    except ValueError:
        return None
    return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
