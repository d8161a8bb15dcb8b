"""What the real services do and nobody expects, and a world in which all of it happens."""

from __future__ import annotations

from collections import Counter

import httpx
import pytest

from aperture_dagster.simulator.demo_world import load_demo_world
from aperture_dagster.simulator.jellyfin.binding import ticks_date
from aperture_dagster.simulator.server import running_simulator
from aperture_dagster.simulator.settings import SimulatorSettings
from aperture_dagster_tests.habits import NOW, VERSIONS, small_world

KEY = {"Authorization": 'MediaBrowser Token="demo-jellyfin-key"'}


def test_the_demo_has_everything_that_media_servers_treat_differently() -> None:
    world = load_demo_world(now=NOW, users=1)
    owned = [title for title in world.titles if title.copies]
    assert {len(box_set.title_keys) > 1 for box_set in world.box_sets} == {True}
    assert any(title.versions > 1 and not title.merged for title in owned)
    assert any(title.versions > 1 and title.merged for title in owned)
    for oddity in ("specials", "missing_episodes", "double_episodes"):
        assert any(getattr(title, oddity) for title in owned), oddity
    assert max(Counter(library.collection_type for library in world.libraries).values()) > 1
    second = world.libraries[-1]
    assert any(title.library == second.name for title in owned)


@pytest.mark.parametrize(
    ("fraction", "written"), [(0.0, ".0000000Z"), (0.25, ".25Z"), (0.123456, ".123456Z"), (0.0005, ".0005000Z")]
)
def test_dates_are_written_as_dot_net_writes_them(fraction: float, written: str) -> None:
    assert ticks_date(1_700_000_000 + fraction) == f"2023-11-14T22:13:20{written}"


@pytest.mark.parametrize("version", VERSIONS)
def test_types_in_a_library_are_looked_for_in_its_folders_from_12_on(version: str) -> None:
    # jellyfin/jellyfin, ItemsController.cs: only if the client does not say whether to look into folders.
    with running_simulator(small_world(), SimulatorSettings(jellyfin_version=version)) as running:
        library = next(one for one in running.state.catalogue.libraries if one.collection_type == "tvshows")
        with httpx.Client(base_url=running.jellyfin_url, headers=KEY) as client:
            asked = {"parentId": library.item_id, "includeItemTypes": "Episode"}
            found = [
                client.get("/Items", params=asked | more).json()["TotalRecordCount"]
                for more in ({}, {"recursive": "true"}, {"recursive": "false"})
            ]
    everything = found[1]
    assert everything and found == [everything if version == "12.0.0" else 0, everything, 0]
