"""What is published on the media server.

Each asset here follows one pattern: read what should be there from the database and what is there from the server, let
:mod:`aperture_dagster.publishing` compute the difference, apply it through the media server's writer, record what was
applied at once, and look again. Each is off until the operator turns it on.
"""

from aperture_dagster.defs.groups import Group
from aperture_dagster.defs.publishing.checks import CHECKS
from aperture_dagster.defs.publishing.jobs import JOBS
from aperture_dagster.defs.publishing.libraries import media_server_libraries
from aperture_dagster.defs.publishing.recommendation_libraries import recommendation_libraries_asset
from aperture_dagster.defs.publishing.shows_you_watch_libraries import shows_you_watch_libraries_asset
from aperture_dagster.defs.publishing.studio_pictures import are_on_the_server, studio_pictures
from aperture_dagster.defs.publishing.top_picks_libraries import top_picks_libraries_asset
from aperture_dagster.settings import Settings


def group(settings: Settings) -> Group:
    """The group; what follows from changes does so only while publishing is on."""
    published = (
        recommendation_libraries_asset(settings),
        top_picks_libraries_asset(settings),
        shows_you_watch_libraries_asset(settings),
    )
    return Group(
        assets=(studio_pictures, *published, media_server_libraries([studio_pictures, *published])),
        checks=(are_on_the_server, *CHECKS),
        jobs=JOBS,
    )


__all__ = ["group", "studio_pictures"]
