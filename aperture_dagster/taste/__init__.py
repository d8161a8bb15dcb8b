"""Vectors, tastes and lists: what is computed from titles and histories, for whom, and why."""
