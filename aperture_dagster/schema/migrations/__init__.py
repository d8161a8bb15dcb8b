"""Migrations of the product's database. :mod:`aperture_dagster.postgres.migrate` applies them."""
