"""Ratings of the media server, of the command line and of Trakt.

- Rules: ``merge`` (three ways, and the guard against removals that are too many).
- Tables and queries: ``tables``, ``in_force`` (which rating counts), ``synced`` (those on which Trakt agrees),
  ``outbox`` (what waits for Trakt), ``removals``.
- Use case: ``server`` for copies on the media server. That for Trakt is in ``aperture_dagster.trakt``.
"""
