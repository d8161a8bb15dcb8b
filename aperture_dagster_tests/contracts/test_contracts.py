"""Requests of the client of TMDb and responses of its stand-in match the published specification of June 2026.

Jellyfin and Seerr are held to recordings instead, and Emby's specification is not available.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from starlette.routing import Match

from aperture_dagster.enrichment.tmdb import Tmdb
from aperture_dagster.simulator.state import SimulatorState
from aperture_dagster.simulator.tmdb import TmdbService
from aperture_dagster.simulator.world import World
from aperture_dagster_tests.contracts.deviations import DEVIATIONS, Comparison
from aperture_dagster_tests.contracts.traffic import Traffic, public_methods

if TYPE_CHECKING:
    from aperture_dagster_tests.contracts.specification import Difference, Specification

pytestmark = pytest.mark.filterwarnings("ignore:Use of allowEmptyValue:DeprecationWarning:openapi_core.*")


@pytest.fixture(scope="module")
def compared(specification: Specification, recording: Traffic) -> tuple[Comparison, list[Difference]]:
    """Compare all recorded traffic, and return the differences that are not allowed. Refused requests may be wrong."""
    comparison = Comparison(specification)
    found = [one for exchange in recording.clients + recording.routes for one in comparison.unexplained(exchange)]
    found += [one for exchange in recording.errors for one in comparison.unexplained(exchange, ["answer"])]
    return comparison, found


def describe(differences: list[Difference]) -> str:
    """Describe differences, each once."""
    return "\n".join(sorted({str(one) for one in differences}))


# Coverage


def test_every_method_of_the_client_was_used(recording: Traffic) -> None:
    unused = public_methods(Tmdb) - recording.called
    assert not unused, sorted(unused)


def test_every_operation_of_the_stand_in_was_used(recording: Traffic) -> None:
    operations = TmdbService(SimulatorState(World("empty"))).operations
    unused = {operation.name for operation in operations if operation.is_modelled}
    assert unused
    for exchange in recording.routes:
        path = exchange.path.removeprefix("/3")
        scope = {"type": "http", "method": exchange.method, "root_path": "", "path": path}
        unused.discard(next(one for one in operations if one.matches(scope)[0] is Match.FULL).name)
    assert not unused, sorted(unused)


# Compliance


def test_requests_of_the_client_are_specified_and_not_deprecated(
    specification: Specification, recording: Traffic
) -> None:
    from aperture_dagster_tests.contracts.specification import query_parameters

    assert recording.clients
    for exchange in recording.clients:
        found = specification.operation(exchange)
        assert found is not None, f"{exchange} is not in the specification"
        name, operation = found
        assert not operation.get("deprecated"), name
        old = {one for one, schema in query_parameters(operation).items() if schema.get("deprecated")}
        assert not old & set(dict(exchange.query)), name


@pytest.mark.parametrize("side", ["request", "answer"])
def test_the_traffic_matches_the_specification_except_for_known_deviations(
    side: str, compared: tuple[Comparison, list[Difference]]
) -> None:
    left = [one for one in compared[1] if one.side == side]
    assert not left, describe(left)


@pytest.mark.parametrize("deviation", DEVIATIONS, ids=str)
def test_every_known_deviation_still_occurs(deviation: Any, compared: tuple[Comparison, list[Difference]]) -> None:
    assert not [place for place in deviation.where if (deviation, place) not in compared[0].met]


# Differences are noticed; in answers, those above


@pytest.mark.parametrize(("name", "value", "seen"), [("page", "many", "CastError"), ("with_genre", "18", "undeclared")])
def test_a_wrong_request_is_noticed(
    name: str, value: str, seen: str, specification: Specification, recording: Traffic
) -> None:
    exchange = next(one for one in recording.clients if one.path == "/3/discover/movie")
    query = [*((one, given) for one, given in exchange.query if one != name), (name, value)]
    found = Comparison(specification).unexplained(exchange.but(query=query))
    assert seen in {one.rule for one in found}, describe(found)
