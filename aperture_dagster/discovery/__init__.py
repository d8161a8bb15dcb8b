"""Titles outside the library: which there are, whom they suit, and requests for them through Seerr."""
