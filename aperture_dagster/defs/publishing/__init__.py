"""What is published on the media server.

Each asset here follows one pattern: read what should be there from the database and what is there from the server, let
:mod:`aperture_dagster.publishing` compute the difference, apply it through the media server's writer, record what was
applied at once, and look again. Each is off until the operator turns it on.
"""

from aperture_dagster.defs.groups import Group
from aperture_dagster.defs.publishing.libraries import media_server_libraries
from aperture_dagster.defs.publishing.studio_pictures import are_on_the_server, studio_pictures

GROUP = Group(assets=(studio_pictures, media_server_libraries), checks=(are_on_the_server,))

__all__ = ["GROUP", "media_server_libraries", "studio_pictures"]
