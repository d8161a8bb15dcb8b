"""Backups of the product's database: made with pg_dump, and proven by restoring them into a scratch database."""
