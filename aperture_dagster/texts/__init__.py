"""Texts for the members of the household, in their languages: one catalogue, a ``.po`` file a language."""
