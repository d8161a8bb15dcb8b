"""Dagster's own storage on our PostgreSQL, and the runs that died."""
