"""Requests of the clients and responses of the stand-ins match the services' published specifications.

The specifications are those of Jellyfin 12.0.0 and of TMDb's version 3 as of June 2026. Emby's is not available.
"""

from __future__ import annotations

from typing import Any

import pytest
from starlette.routing import Match

from aperture_dagster.enrichment.tmdb.client import Tmdb
from aperture_dagster.media_server.jellyfin import JellyfinReader
from aperture_dagster.media_server.jellyfin_writer import JellyfinWriter
from aperture_dagster.simulator.jellyfin import JellyfinService
from aperture_dagster.simulator.service import StandIn
from aperture_dagster.simulator.state import SimulatorState
from aperture_dagster.simulator.tmdb import TmdbService
from aperture_dagster.simulator.world import World
from aperture_dagster_tests.contracts.deviations import DEVIATIONS, Comparison
from aperture_dagster_tests.contracts.specification import Difference, Specification, query_parameters
from aperture_dagster_tests.contracts.traffic import Traffic, public_methods

pytestmark = pytest.mark.filterwarnings("ignore:Use of allowEmptyValue:DeprecationWarning:openapi_core.*")
SERVICES = ("jellyfin", "tmdb")


@pytest.fixture(scope="module")
def compared(specifications: dict[str, Specification], recording: Traffic) -> tuple[Comparison, list[Difference]]:
    """Compare all recorded traffic, and return the differences that are not allowed. Refused requests may be wrong."""
    comparison = Comparison(specifications)
    found = [one for exchange in recording.clients + recording.routes for one in comparison.unexplained(exchange)]
    found += [one for exchange in recording.errors for one in comparison.unexplained(exchange, ["answer"])]
    return comparison, found


def describe(differences: list[Difference]) -> str:
    """Describe differences, each once."""
    return "\n".join(sorted({str(one) for one in differences}))


def stand_in_of(service: str) -> StandIn:
    state = SimulatorState(World("empty"))
    return JellyfinService(state) if service == "jellyfin" else TmdbService(state)


# Coverage


def test_every_method_of_a_client_was_used(recording: Traffic) -> None:
    unused = public_methods(JellyfinReader, JellyfinWriter, Tmdb) - recording.called
    assert not unused, sorted(unused)


@pytest.mark.parametrize("service", SERVICES)
def test_every_operation_of_a_stand_in_was_used(service: str, recording: Traffic) -> None:
    stand_in = stand_in_of(service)
    unused = {operation.name for operation in stand_in.operations if operation.is_modelled}
    assert unused
    for exchange in recording.routes:
        if exchange.service == service:
            path = exchange.path.removeprefix("/3")
            scope = {"type": "http", "method": exchange.method, "root_path": "", "path": path}
            found = (one for one in stand_in.operations if one.matches(scope)[0] is Match.FULL)
            unused.discard(next(found).name)
    assert not unused, sorted(unused)


# Compliance


@pytest.mark.parametrize("service", SERVICES)
def test_requests_of_the_clients_are_specified_and_not_deprecated(
    service: str, specifications: dict[str, Specification], recording: Traffic
) -> None:
    exchanges = [exchange for exchange in recording.clients if exchange.service == service]
    assert exchanges
    for exchange in exchanges:
        found = specifications[service].operation(exchange)
        assert found is not None, f"{exchange} is not in the specification"
        name, operation = found
        assert not operation.get("deprecated"), name
        old = {one for one, schema in query_parameters(operation).items() if schema.get("deprecated")}
        assert not old & set(dict(exchange.query)), name


@pytest.mark.parametrize("side", ["request", "answer"])
@pytest.mark.parametrize("service", SERVICES)
def test_the_traffic_matches_the_specification_except_for_known_deviations(
    service: str, side: str, compared: tuple[Comparison, list[Difference]]
) -> None:
    left = [one for one in compared[1] if (one.exchange.service, one.side) == (service, side)]
    assert not left, describe(left)


@pytest.mark.parametrize("deviation", DEVIATIONS, ids=str)
def test_every_known_deviation_still_occurs(deviation: Any, compared: tuple[Comparison, list[Difference]]) -> None:
    assert not [place for place in deviation.where if (deviation, place) not in compared[0].met]


# Differences are noticed; in answers, those above


@pytest.mark.parametrize(
    ("name", "value", "seen"),
    [
        ("includeItemTypes", "Movie,Film", "enum"),
        ("fields", "Overview,Titel", "enum"),
        ("parentId", "films", "format uuid"),
        ("limit", "many", "CastError"),
        ("StartIndex", "0", "undeclared"),
        ("enableUserData", "perhaps", "CastError"),
    ],
)
def test_a_wrong_request_is_noticed(
    name: str, value: str, seen: str, specifications: dict[str, Specification], recording: Traffic
) -> None:
    exchange = next(one for one in recording.clients if (one.service, one.path) == ("jellyfin", "/Items"))
    query = [*((one, given) for one, given in exchange.query if one != name), (name, value)]
    found = Comparison(specifications).unexplained(exchange.but(query=query))
    assert seen in {one.rule for one in found}, describe(found)
