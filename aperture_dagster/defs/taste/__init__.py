"""Vectors of the titles, the taste of each user, and their recommendations."""
