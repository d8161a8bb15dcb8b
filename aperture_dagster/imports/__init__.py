"""Histories of other programs, imported for a user: what would happen, doing it once, and taking it back."""
