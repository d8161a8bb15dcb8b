"""What is published on the media server.

Each asset here follows one pattern: read what should be there from the database and what is there from the server, let
:mod:`aperture_dagster.publishing` compute the difference, apply it through the media server's writer, record what was
applied at once, and look again. Each is off until the operator turns it on.
"""

from aperture_dagster.defs.jobs import Group
from aperture_dagster.defs.publishing.checks import CHECKS
from aperture_dagster.defs.publishing.jobs import JOBS
from aperture_dagster.defs.publishing.libraries import library_assets, media_server_libraries
from aperture_dagster.defs.publishing.library_access import library_access
from aperture_dagster.defs.publishing.studio_pictures import are_on_the_server, studio_pictures
from aperture_dagster.settings import Settings


def group(settings: Settings) -> Group:
    """The group; what follows from changes does so only while publishing is on."""
    published = library_assets(settings)
    return Group(
        assets=(
            studio_pictures,
            library_access,
            *published,
            media_server_libraries([studio_pictures, library_access, *published]),
        ),
        checks=(are_on_the_server, *CHECKS),
        jobs=JOBS,
    )


__all__ = ["group", "studio_pictures"]
