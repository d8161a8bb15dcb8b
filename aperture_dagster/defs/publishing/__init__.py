"""What is published on the media server.

Each asset here follows one pattern: read what should be there from the database and what is there from the server, let
:mod:`aperture_dagster.publishing` compute the difference, apply it through the media server's writer, record what was
applied at once, and look again. Each is off until the operator turns it on.
"""

import dagster as dg

from aperture_dagster.automation import outside_quiet_hours
from aperture_dagster.defs.jobs import Group
from aperture_dagster.defs.publishing.checks import CHECKS
from aperture_dagster.defs.publishing.jobs import JOBS
from aperture_dagster.defs.publishing.libraries import library_assets, media_server_libraries
from aperture_dagster.defs.publishing.library_access import library_access
from aperture_dagster.defs.publishing.studio_pictures import are_on_the_server, studio_pictures
from aperture_dagster.settings import Settings


def group(settings: Settings) -> Group:
    """The group; what follows from changes does so only while publishing is on."""
    published = [
        _out_of_quiet_hours(one, settings) for one in (studio_pictures, library_access, *library_assets(settings))
    ]
    return Group(
        assets=(*published, media_server_libraries(published)),
        checks=(are_on_the_server, *CHECKS),
        jobs=JOBS,
    )


def _out_of_quiet_hours(asset: dg.AssetsDefinition, settings: Settings) -> dg.AssetsDefinition:
    """Let an asset that writes to the media server wait for the end of the quiet hours."""
    return asset.map_asset_specs(
        lambda spec: spec.replace_attributes(
            automation_condition=outside_quiet_hours(spec.automation_condition, settings)
        )
    )


__all__ = ["group", "studio_pictures"]
