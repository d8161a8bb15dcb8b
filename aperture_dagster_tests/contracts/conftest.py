"""The specifications, and the recorded traffic to check against them."""

from __future__ import annotations

from pathlib import Path

import pytest

from aperture_dagster.simulator.demo_world import load_demo_world
from aperture_dagster.simulator.generated_world import WorldSize, generate_world
from aperture_dagster.simulator.odd_world import odd_world
from aperture_dagster.simulator.settings import SimulatorSettings
from aperture_dagster_tests.contracts import traffic
from aperture_dagster_tests.contracts.recorder import recorded
from aperture_dagster_tests.contracts.specification import Specification
from aperture_dagster_tests.contracts.tmdb_routes import TMDB_ROUTES
from aperture_dagster_tests.contracts.traffic import NOW, Traffic
from aperture_dagster_tests.habits import VERSIONS, small_world

SPECIFICATIONS = Path(__file__).parent / "specifications"
VERSION_3_KEY = "0123456789abcdef0123456789abcdef"


@pytest.fixture(scope="session")
def specifications() -> dict[str, Specification]:
    """What the specifications say of the stand-ins' operations, by service; see ``specifications/README.md``."""
    return {
        "jellyfin": Specification(SPECIFICATIONS / "jellyfin.json", made_from_examples=False),
        "tmdb": Specification(SPECIFICATIONS / "tmdb.json", made_from_examples=True),
    }


@pytest.fixture(scope="session")
def recording(specifications: dict[str, Specification], tmp_path_factory: pytest.TempPathFactory) -> Traffic:
    """Traffic of both clients with several worlds and every server version, and requests to every operation."""
    kept = Traffic()
    generated = generate_world(WorldSize(movies=40, series=8, episodes=60, users=3, plays=150), seed=1, now=NOW)
    folder = tmp_path_factory.mktemp("published")
    for version in VERSIONS:
        settings = SimulatorSettings(jellyfin_version=version, volumes={"/published": folder})
        with recorded(small_world(), settings) as (served, recorder):
            traffic.write_all_of_jellyfin(served, kept.called, "/published")
            kept.clients += recorder.exchanges
    for version in ("10.9.11", "10.10.7", "10.11.11"):
        with recorded(odd_world(NOW), SimulatorSettings(jellyfin_version=version)) as (served, recorder):
            traffic.read_all_of_jellyfin(served, kept.called, users=2)
            kept.clients += recorder.exchanges
    with recorded(odd_world(NOW)) as (served, recorder):
        traffic.read_all_of_jellyfin(served, kept.called)
        traffic.read_all_of_tmdb(served, kept.called)
        kept.clients += recorder.exchanges
    with recorded(load_demo_world(now=NOW, users=1), SimulatorSettings(tmdb_key=VERSION_3_KEY)) as (served, recorder):
        traffic.read_all_of_tmdb(served, kept.called, every=12)
        kept.clients += recorder.exchanges
    with recorded(generated) as (served, recorder):
        traffic.read_all_of_jellyfin(served, kept.called)
        traffic.read_all_of_tmdb(served, kept.called, every=2)
        kept.clients += recorder.exchanges
        recorder.exchanges = []
        traffic.ask_tmdb(served, TMDB_ROUTES, traffic.tmdb_names(served))
        traffic.ask_jellyfin(served, traffic.JELLYFIN_ROUTES, traffic.jellyfin_names(served))
        kept.routes += recorder.exchanges
        recorder.exchanges = []
        traffic.meet_errors(served)
        kept.errors += recorder.exchanges
    return kept
