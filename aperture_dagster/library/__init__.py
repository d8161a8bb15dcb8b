"""Rules about titles, copies, plays and users, as pure functions: no I/O, no Dagster, no SQL."""
