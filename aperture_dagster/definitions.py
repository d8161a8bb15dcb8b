"""What Dagster loads."""

from aperture_dagster.build import build_definitions

defs = build_definitions()
