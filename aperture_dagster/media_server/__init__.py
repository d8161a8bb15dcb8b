"""Jellyfin and Emby: a reader for what syncs need, and a writer for what is published on the server.

``records`` are the plain records that readers return, ``reader`` is the interface, ``jellyfin`` and ``emby`` implement
it, ``writer`` holds every change that is made on a server (collections and playlists in ``list_writer``), with
``jellyfin_writer`` and ``emby_writer`` for what differs. ``listing`` reads listings page by page and ``items`` parses
their JSON, which is much the same on both servers. ``detect`` finds out which of the two answers at an address.
"""
