"""Jellyfin: its reader, its writer, and rows on its home screen."""
