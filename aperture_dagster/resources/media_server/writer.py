"""Every change that is made on a media server. Nothing else in the product writes to it.

Each method leaves the server in the stated condition and is safe to repeat. Whoever calls them compares with
``MediaServerWriter.reader`` first, and writes only what differs.
"""

from __future__ import annotations

import base64

from aperture_dagster.resources.client import ServiceClient
from aperture_dagster.resources.media_server.reader import MediaServerReader
from aperture_dagster.resources.messages import Request


class MediaServerWriter(ServiceClient):
    """Writes to the server that ``reader`` reads, over the same connection.

    What works the same on Jellyfin and Emby is implemented here; for what does not, make a subclass for each server.
    """

    def __init__(self, reader: MediaServerReader) -> None:
        super().__init__(reader.transport)
        self.reader = reader

    def set_picture(self, server_item_id: str, content: bytes, content_type: str) -> None:
        """Make ``content`` the primary picture of an item or a studio.

        Raises:
            NotFound: there is no such item.
            RequestRejected: the server does not accept the picture.
            ServiceUnavailable, ServiceRefused: see :class:`Transport`.
        """
        self.transport.send(
            Request(
                "POST",
                f"/Items/{server_item_id}/Images/Primary",
                # Both servers expect the bytes as base64 text.
                content=base64.b64encode(content),
                headers={"Content-Type": content_type},
                repeatable=True,
            )
        )
