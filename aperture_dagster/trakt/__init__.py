"""Trakt: accounts that users connected, ratings kept in step with them, and what Trakt recommends.

- Requests: ``client`` and ``sign_in``, with what they return (``records``), what it means (``answers``) and what they
  fail with (``errors``).
- Accounts: ``account_state`` (a table of states and events), ``stored`` (in the database), ``tokens``, ``accounts``,
  ``connecting`` (by pages).
- Use cases: ``sync`` for one user, with ``pushing`` for what waits in the outbox; ``keeper`` for one user after
  another, here, on Trakt and on the media server; ``recommendations``.
"""
