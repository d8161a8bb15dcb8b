"""Requests of the clients and responses of the stand-ins match the services' published specifications.

The specifications are those of Jellyfin 12.0.0 and of TMDb's version 3 as of June 2026. Emby's is not available.
"""

from __future__ import annotations

import json
from collections.abc import Callable
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
from aperture_dagster_tests.contracts.recorder import Exchange
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


# Differences are noticed


def details(recording: Traffic) -> Exchange:
    """Return a film's details with everything appended."""
    return next(one for one in recording.routes if "append_to_response" in one.query_string and "/movie/" in one.path)


def listing(recording: Traffic) -> Exchange:
    """Return a listing of films, as the client requests it."""
    return next(one for one in recording.clients if one.path == "/Items" and "TotalRecordCount" in str(one.answer_body))


def changed(exchange: Exchange, change: Callable[[Any], Any]) -> Exchange:
    content = exchange.json()
    change(content)
    return exchange.but(content=content)


@pytest.mark.parametrize(
    ("change", "seen"),
    [
        (lambda film: film.pop("runtime"), "absent"),
        (lambda film: film.update(runtime=None), "type"),
        (lambda film: film.update(run_time=90), "undeclared"),
        (lambda film: film.update(id="603"), "type"),
        (lambda film: film["genres"][0].update(nom="Drame"), "undeclared"),
        (lambda film: film["credits"]["cast"][0].pop("character"), "absent"),
        (lambda film: film["keywords"].update(results=film["keywords"].pop("keywords")), "absent"),
        (lambda film: film["recommendations"]["results"][0].update(vote_count="many"), "type"),
        (lambda film: film["external_ids"].update(tvdb_id=1), "undeclared"),
        (lambda film: film["release_dates"]["results"][0].pop("iso_3166_1"), "absent"),
    ],
)
def test_a_wrong_response_of_tmdb_is_noticed(
    change: Callable[[Any], Any], seen: str, specifications: dict[str, Specification], recording: Traffic
) -> None:
    exchange = details(recording)
    assert not Comparison(specifications).unexplained(exchange)
    found = Comparison(specifications).unexplained(changed(exchange, change))
    assert seen in {one.rule for one in found}, describe(found)


def test_a_wrong_response_is_noticed_where_the_specification_is_silent(
    specifications: dict[str, Specification], recording: Traffic
) -> None:
    of_tmdb = [one for one in recording.clients if one.service == "tmdb"]
    airing = next(one for one in of_tmdb if "/tv/" in one.path and one.json().get("next_episode_to_air"))
    found_series = next(one for one in of_tmdb if "/find/" in one.path and one.json().get("tv_results"))
    for exchange, change in (
        (airing, lambda series: series["next_episode_to_air"].pop("air_date")),
        (found_series, lambda found: found["tv_results"][0].update(id="1399")),
    ):
        assert not Comparison(specifications).unexplained(exchange)
        assert Comparison(specifications).unexplained(changed(exchange, change))


@pytest.mark.parametrize(
    ("change", "seen"),
    [
        (lambda page: page["Items"][0].update(Id="603"), "format uuid"),
        (lambda page: page["Items"][0].update(Type="Film"), "enum"),
        (lambda page: page["Items"][0].update(DateCreated="yesterday"), "format date-time"),
        (lambda page: page["Items"][0].update(Titel="Metropolis"), "undeclared"),
        (lambda page: page["Items"][0].update(Genres="Drama"), "type"),
        (lambda page: page.update(TotalRecordCount="all"), "type"),
    ],
)
def test_a_wrong_response_of_jellyfin_is_noticed(
    change: Callable[[Any], Any], seen: str, specifications: dict[str, Specification], recording: Traffic
) -> None:
    exchange = listing(recording)
    assert not Comparison(specifications).unexplained(exchange)
    found = Comparison(specifications).unexplained(changed(exchange, change))
    assert seen in {one.rule for one in found}, describe(found)


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
    exchange = listing(recording)
    query = [*((one, given) for one, given in exchange.query if one != name), (name, value)]
    found = Comparison(specifications).unexplained(exchange.but(query=query))
    assert seen in {one.rule for one in found}, describe(found)


def test_a_request_without_a_key_or_to_an_unknown_path_is_noticed(
    specifications: dict[str, Specification], recording: Traffic
) -> None:
    exchange = listing(recording)
    for wrong, seen in (
        (exchange.but(request_headers=()), "SecurityNotFound"),
        (exchange.but(path="/Films"), "PathNotFound"),
        (exchange.but(method="PUT"), "PathNotFound"),
    ):
        assert [one.rule for one in Comparison(specifications).unexplained(wrong)] == [seen]


def test_an_error_in_another_form_is_noticed(specifications: dict[str, Specification], recording: Traffic) -> None:
    error = next(one for one in recording.errors if one.service == "tmdb" and one.status == 404)
    for content in ({"message": "not found"}, error.json() | {"status_code": 7}):
        with pytest.raises(AssertionError, match=json.dumps(content)[2:9]):
            Comparison(specifications).unexplained(error.but(content=content), ["answer"])
