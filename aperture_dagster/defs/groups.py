"""What a group is: the assets, checks and jobs of one domain, declared together in one folder."""

from collections.abc import Sequence
from dataclasses import dataclass

import dagster as dg

from aperture_dagster.defs.jobs import Job


@dataclass(frozen=True, slots=True)
class Group:
    """One group of the graph. Its name is that of its folder."""

    assets: Sequence[dg.AssetsDefinition | dg.AssetSpec]
    checks: Sequence[dg.AssetChecksDefinition] = ()
    jobs: Sequence[Job] = ()
