"""The libraries on the media server: where lineage ends."""

import dagster as dg

from aperture_dagster.defs.publishing.studio_pictures import studio_pictures

media_server_libraries = dg.AssetSpec(
    "media_server_libraries",
    group_name="publishing",
    deps=[studio_pictures],
    description="The media server's libraries as its users see them: everything that is published ends up here.",
    kinds={"jellyfin", "emby"},
)
