"""Migrations of the product's database, as SQL that does not change with the table definitions."""

HEAD_REVISION = "v1"
"""The newest migration; a database at this revision needs no migration."""
