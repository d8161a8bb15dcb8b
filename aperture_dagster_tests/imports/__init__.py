"""Histories of other programs, imported."""
