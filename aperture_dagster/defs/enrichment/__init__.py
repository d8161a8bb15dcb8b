"""Facts about the library's titles from outside services, and the merged view of them."""

from aperture_dagster.defs.enrichment.assets import SERVICE_SPECS, SOURCE_ASSETS, enriched_metadata, studio_logos
from aperture_dagster.defs.enrichment.checks import CHECKS
from aperture_dagster.defs.enrichment.jobs import JOBS
from aperture_dagster.defs.jobs import Group

GROUP = Group(assets=(*SERVICE_SPECS, *SOURCE_ASSETS, enriched_metadata, studio_logos), checks=CHECKS, jobs=JOBS)

__all__ = ["GROUP", "enriched_metadata", "studio_logos"]
