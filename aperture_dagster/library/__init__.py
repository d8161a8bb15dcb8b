"""Rules about titles, copies, plays and users: identity, derivation of plays, precedence of sources.

Pure functions: no I/O, no Dagster, no SQL.
"""
