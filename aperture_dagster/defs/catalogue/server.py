"""The media server itself, where the lineage begins."""

import dagster as dg

media_server = dg.AssetSpec(
    "media_server",
    group_name="catalogue",
    description="The media server itself (Jellyfin or Emby): where titles, users and plays come from.",
    kinds={"jellyfin", "emby"},
)
