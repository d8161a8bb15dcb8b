"""All tables of the product's database, each declared in the room of its capability."""

from aperture_dagster.postgres.tables import metadata as metadata
