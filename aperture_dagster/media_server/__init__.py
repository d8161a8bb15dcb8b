"""Jellyfin and Emby: a reader for what syncs need, and a writer for what is published on the server.

``records`` are the plain records that readers return, ``reader`` is the interface, and ``jellyfin`` and ``emby``
implement it, each with a writer for what differs. ``writer`` holds every change that is made on a server (collections
and playlists in ``list_writer``). ``listing`` reads listings page by page; ``items`` and ``values`` parse their JSON,
which is much the same on both servers. ``detection`` finds out which of the two answers at an address.
"""
