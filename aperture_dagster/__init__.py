"""Personal recommendations for home media servers, as a Dagster project."""
