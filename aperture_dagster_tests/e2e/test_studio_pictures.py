"""Studio pictures on the media server: what is set, what stays, and what happens if the server refuses."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from aperture_dagster.catalogue.servers import MediaServers
from aperture_dagster.simulator.server import RunningSimulator
from aperture_dagster_tests.e2e.worlds import ENRICHED, world_of_studios
from aperture_dagster_tests.household import Household, metadata_of

pytestmark = pytest.mark.e2e


@contextmanager
def enriched(household: Any, **settings: Any) -> Iterator[tuple[RunningSimulator, Household]]:
    """A home with titles and their studios; the media server has no pictures of studios yet."""
    with household(world_of_studios(), after=ENRICHED, **settings) as (simulator, home):
        yield simulator, home


def publish(home: Household) -> dict[str, Any]:
    return metadata_of(home.must("enrich_studio_logos"), "studio_pictures")


def logos_by_name(home: Household) -> dict[str, bytes]:
    rows = home.rows("SELECT name, file_name FROM studio_logos WHERE file_name IS NOT NULL")
    return {row["name"]: (home.settings.home_path / "logos" / row["file_name"]).read_bytes() for row in rows}


def test_studios_without_a_picture_get_their_logo_and_the_operators_choice_stays(household):
    with enriched(household, set_studio_pictures=True) as (simulator, home):
        named = "SELECT s->>'name' AS name FROM tmdb_metadata, jsonb_array_elements(companies || networks) s "
        with_logo = {row["name"] for row in home.rows(named + "WHERE s->>'logo_path' IS NOT NULL")}
        with MediaServers(home.settings, home.database).open_writer() as writer:
            studios = {studio.name: studio for page in writer.reader.studios() for studio in page}
            chosen = min(with_logo & set(studios))
            writer.set_picture(studios[chosen].server_item_id, b"the operator's", "image/png")
        metadata = publish(home)
        pictures, ours = simulator.state.studio_pictures(), (with_logo & set(studios)) - {chosen}
        assert ours and metadata["rows_written"] == len(ours)
        assert pictures[chosen].content == b"the operator's"
        logos = logos_by_name(home)
        assert {name: pictures[name].content for name in ours} == {name: logos[name] for name in ours}
        assert publish(home)["rows_written"] == 0
        assert simulator.state.studio_pictures() == pictures


def test_the_media_server_is_not_touched_unless_turned_on(household):
    with enriched(household) as (simulator, home):
        assert publish(home)["skipped"].startswith("skipped: APERTURE_SET_STUDIO_PICTURES")
        assert simulator.state.studio_pictures() == {}
        assert simulator.state.requests("jellyfin", "Studios") == 0
