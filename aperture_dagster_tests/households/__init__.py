"""Several households on one Dagster instance."""
