"""Migrations of the product's database."""
