"""The web server that people open: Dagster's UI, which has no login, behind a guard against other websites."""
