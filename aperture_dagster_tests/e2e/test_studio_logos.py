"""Logos of studios: real pictures only, each downloaded once, and what is set on the media server."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from aperture_dagster.catalogue.servers import MediaServers
from aperture_dagster.enrichment.pictures import check_picture
from aperture_dagster.simulator.responses import FaultRule
from aperture_dagster.simulator.server import RunningSimulator
from aperture_dagster_tests.e2e.publishing import READS
from aperture_dagster_tests.e2e.worlds import small_world
from aperture_dagster_tests.household import Household, metadata_of

pytestmark = pytest.mark.e2e

# One world: homes of the same world are copied.
world_of_studios = functools.cache(functools.partial(small_world, movies=25))
STORED = "SELECT kind, studio_id, file_name, picture_kind, bytes FROM studio_logos WHERE file_name IS NOT NULL"


@contextmanager
def enriched(household: Any, **settings: Any) -> Iterator[tuple[RunningSimulator, Household]]:
    """A home with metadata of TMDb, so that the studios are known."""
    with household(world_of_studios(), after=(*READS, "enrich_metadata"), **settings) as (simulator, home):
        yield simulator, home


def logos(home: Household) -> Path:
    return home.settings.home_path / "logos"


def run(home: Household) -> dict[str, Any]:
    return metadata_of(home.must("enrich_studio_logos"), "studio_logos")


def test_every_logo_is_downloaded_once_and_again_if_it_changed_or_its_file_is_lost(household):
    with enriched(household) as (simulator, home):
        metadata = run(home)
        with_logo = home.value("SELECT count(*) FROM studio_logos WHERE logo_path IS NOT NULL")
        without = home.value("SELECT count(*) FROM studio_logos WHERE logo_path IS NULL")
        assert with_logo > 5 and without > 1
        assert (metadata["fetched"], metadata["not_found"], metadata["requests"]) == (with_logo, without, with_logo)
        for row in home.rows(STORED):
            content = (logos(home) / row["file_name"]).read_bytes()
            assert check_picture(content).format == row["picture_kind"] and len(content) == row["bytes"]
        assert len(list(logos(home).iterdir())) == with_logo
        missing = [record.data for record in metadata["not_fetched"].records]
        assert {row["reason"] for row in missing} == {"TMDb has no logo"} and len(missing) == min(without, 20)
        assert [row["titles"] for row in missing] == sorted((row["titles"] for row in missing), reverse=True)
        result = home.must("enrich_studio_logos")
        again = metadata_of(result, "studio_logos")
        assert (again["asked"], again["requests"], again["rows_written"]) == (0, 0, 0)
        assert set(simulator.state.asked("tmdb_images").values()) == {1}
        assert metadata_of(result, "studio_pictures")["skipped"].startswith("skipped: APERTURE_SET_STUDIO_PICTURES")
        assert simulator.state.studio_pictures() == {}, "the media server is not touched unless that is turned on"
        assert simulator.state.requests("jellyfin", "Studios") == 0
        one, two, *_ = home.rows(f"{STORED} ORDER BY studio_id")
        (logos(home) / one["file_name"]).unlink()
        (logos(home) / ".company-1.png-left-by-a-kill").write_bytes(b"half")
        home.rows(
            "UPDATE studio_logos SET stored_path = '/old.png', tried_path = '/old.png' "
            "WHERE (kind, studio_id) = (:kind, :id) RETURNING 1",
            kind=two["kind"],
            id=two["studio_id"],
        )
        metadata = run(home)
        assert (metadata["fetched"], metadata["requests"], metadata["files_lost"]) == (2, 2, 1)
        assert (logos(home) / one["file_name"]).is_file()
        assert home.value("SELECT count(*) FROM studio_logos WHERE stored_path IS DISTINCT FROM logo_path") == 0
        assert not list(logos(home).glob(".*"))
        keyless = Household(home.settings.model_copy(update={"tmdb_api_key": None}), home.instance)
        assert run(keyless)["skipped"].startswith("skipped: TMDB")


def test_content_that_is_not_a_picture_is_refused_and_requested_again_later(household):
    with enriched(household) as (simulator, home):
        simulator.state.add_fault(FaultRule("tmdb_images", kind="wrong_content"))
        metadata = run(home)
        assert metadata["fetched"] == 0 and metadata["errors"] == metadata["requests"] > 5
        missing = {record.data["name"]: record.data["reason"] for record in metadata["not_fetched"].records}
        failed = {name for name, reason in missing.items() if "was rejected" in reason}
        assert len(failed) == min(metadata["errors"], 20)
        assert set(list(missing.values())[len(failed) :]) <= {"TMDb has no logo"}, "failures come first"
        assert list(logos(home).glob("*")) == []
        simulator.state.clear_faults()
        assert run(home)["requests"] == 0, "not before an hour has passed"
        home.rows("UPDATE fetches SET due_at = due_at - interval '2 hours' WHERE outcome = 'error' RETURNING 1")
        assert run(home)["fetched"] == metadata["errors"]


# On the media server


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
