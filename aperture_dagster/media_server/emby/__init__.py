"""Emby: its reader and its writer."""
