"""Facts about the library's titles from outside services, and the merged view of them."""

from aperture_dagster.defs.enrichment.checks import CHECKS
from aperture_dagster.defs.enrichment.jobs import JOBS
from aperture_dagster.defs.enrichment.logos import studio_logos
from aperture_dagster.defs.enrichment.merged import enriched_metadata
from aperture_dagster.defs.enrichment.sources import SERVICE_SPECS, SOURCE_ASSETS
from aperture_dagster.defs.groups import Group

GROUP = Group(assets=(*SERVICE_SPECS, *SOURCE_ASSETS, enriched_metadata, studio_logos), checks=CHECKS, jobs=JOBS)

__all__ = ["GROUP", "enriched_metadata", "studio_logos"]
