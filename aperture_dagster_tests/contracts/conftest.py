"""The specification, and the recorded traffic to check against it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from aperture_dagster.simulator.demo_world import load_demo_world
from aperture_dagster.simulator.settings import SimulatorSettings
from aperture_dagster.simulator.worlds import WorldSize, generate_world, odd_world
from aperture_dagster_tests.contracts import traffic
from aperture_dagster_tests.contracts.recorder import recorded
from aperture_dagster_tests.contracts.tmdb_routes import TMDB_ROUTES
from aperture_dagster_tests.contracts.traffic import NOW, Traffic

if TYPE_CHECKING:
    from aperture_dagster_tests.contracts.specification import Specification

SPECIFICATIONS = Path(__file__).parent / "specifications"
VERSION_3_KEY = "0123456789abcdef0123456789abcdef"


@pytest.fixture(scope="session")
def specification() -> Specification:
    """What TMDb's specification says of the stand-in's operations; see ``specifications/README.md``."""
    # Every worker imports this file, and one of them needs these libraries.
    from aperture_dagster_tests.contracts.specification import Specification

    return Specification(SPECIFICATIONS / "tmdb.json")


@pytest.fixture(scope="session")
def recording(specification: Specification) -> Traffic:
    """Traffic of the client with several worlds, and requests to every operation."""
    kept = Traffic()
    generated = generate_world(WorldSize(movies=40, series=8, episodes=60, users=3, plays=150), seed=1, now=NOW)
    with recorded(odd_world(NOW)) as (served, recorder):
        traffic.read_all_of_tmdb(served, kept.called)
        kept.clients += recorder.exchanges
    with recorded(load_demo_world(now=NOW, users=1), SimulatorSettings(tmdb_key=VERSION_3_KEY)) as (served, recorder):
        traffic.read_all_of_tmdb(served, kept.called, every=12)
        kept.clients += recorder.exchanges
    with recorded(generated) as (served, recorder):
        traffic.read_all_of_tmdb(served, kept.called, every=2)
        kept.clients += recorder.exchanges
        recorder.exchanges = []
        traffic.ask_tmdb(served, TMDB_ROUTES, traffic.tmdb_names(served))
        kept.routes += recorder.exchanges
        recorder.exchanges = []
        traffic.meet_errors(served)
        kept.errors += recorder.exchanges
    return kept
