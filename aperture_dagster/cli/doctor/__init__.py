"""``aperture doctor``."""
