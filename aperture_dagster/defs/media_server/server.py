"""The media server itself: where the group begins."""

import dagster as dg

from aperture_dagster.defs.common import SERVER

GROUP = "media_server"

media_server = dg.AssetSpec(
    SERVER,
    group_name=GROUP,
    description="The media server itself (Jellyfin or Emby): where titles, users and plays come from.",
    kinds={"jellyfin", "emby"},
)
