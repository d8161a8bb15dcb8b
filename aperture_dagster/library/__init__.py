"""Rules about titles, copies, plays and users: what is the same title, what counts as a play, which source wins.

Pure functions: no I/O, no Dagster, no SQL.
"""
