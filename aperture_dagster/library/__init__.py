"""How the library is thought about: what is the same title, what was a play, what is due, which source wins.

Pure functions: no I/O, no Dagster, no SQL.
"""
