"""Ratings of the media server, of the command line and of Trakt: one room from client to use case.

- Rules: ``merge`` (three ways), ``guard`` (removals that are too many).
- Tables and queries: ``tables``, ``in_force`` (which rating counts), ``synced`` (what Trakt had), ``outbox`` (what
  waits for it), ``removals``, ``stored_accounts``.
- Trakt: ``client``, ``sign_in``, what both return (``records``), fail with (``errors``) and make of answers
  (``answers``); ``tokens`` and ``accounts`` of users.
- Use cases: ``sync`` and ``pushing`` for one user and Trakt, ``server`` for copies on the media server, and ``keeper``
  for both.
"""
