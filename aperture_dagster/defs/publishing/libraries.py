"""The libraries on the media server: where lineage ends."""

from collections.abc import Sequence

import dagster as dg


def media_server_libraries(published: Sequence[dg.AssetsDefinition]) -> dg.AssetSpec:
    """The external asset that everything published ends up in."""
    return dg.AssetSpec(
        "media_server_libraries",
        group_name="publishing",
        deps=published,
        description="The media server's libraries as its users see them: everything that is published ends up here.",
        kinds={"jellyfin", "emby"},
    )
