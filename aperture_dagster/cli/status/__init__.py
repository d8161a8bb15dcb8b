"""``aperture status``."""
