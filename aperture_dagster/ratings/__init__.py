"""Ratings of the media server, of the command line and of Trakt: one room from client to use case.

- Rules: ``merge`` (three ways, and the guard against removals that are too many).
- Tables and queries: ``in_force`` (which rating counts), ``outbox`` (what waits for Trakt), ``removals``.
- Trakt: ``client`` and ``sign_in``, with what they return and fail with (``records``); ``tokens`` and ``accounts``.
- Use cases: ``sync`` for one user and Trakt, ``server`` for copies on the media server.
"""
