"""Faults occur on demand, exactly as often as requested."""

from __future__ import annotations

import json

import httpx
import pytest

from aperture_dagster.simulator.responses import FaultRule
from aperture_dagster.simulator.server import RunningSimulator

FILMS = {"recursive": "true", "includeItemTypes": "Movie"}


def fault(simulator: RunningSimulator, kind: str, **more: object) -> int:
    rule = FaultRule("jellyfin", more.pop("path_contains", "/Items"), kind, **more)  # type: ignore[arg-type]
    return simulator.state.add_fault(rule)


@pytest.mark.parametrize("status", [429, 500, 503])
def test_an_error_status_occurs_as_often_as_requested(
    simulator: RunningSimulator, jellyfin: httpx.Client, status: int
) -> None:
    fault(simulator, "status", status=status, times=2, retry_after=3)
    answers = [jellyfin.get("/Items", params=FILMS) for _ in range(4)]
    assert [answer.status_code for answer in answers] == [status, status, 200, 200]
    assert answers[0].headers["retry-after"] == "3"


def test_a_fault_can_let_the_first_requests_pass(simulator: RunningSimulator, jellyfin: httpx.Client) -> None:
    fault(simulator, "status", status=500, times=1, after=2)
    assert [jellyfin.get("/Items", params=FILMS).status_code for _ in range(4)] == [200, 200, 500, 200]


def test_a_fault_without_a_number_lasts_until_it_is_removed(
    simulator: RunningSimulator, jellyfin: httpx.Client
) -> None:
    number = fault(simulator, "status", status=502)
    assert {jellyfin.get("/Items", params=FILMS).status_code for _ in range(5)} == {502}
    simulator.state.remove_fault(number)
    assert jellyfin.get("/Items", params=FILMS).status_code == 200


def test_a_fault_hits_only_its_service_and_path(
    simulator: RunningSimulator, jellyfin: httpx.Client, tmdb: httpx.Client
) -> None:
    fault(simulator, "status", status=500, path_contains="startIndex=5")
    assert jellyfin.get("/Users").status_code == 200
    assert jellyfin.get("/Items", params={**FILMS, "startIndex": 0}).status_code == 200
    assert jellyfin.get("/Items", params={**FILMS, "startIndex": 5}).status_code == 500
    fault(simulator, "status", status=500, path_contains="language=fr")
    assert jellyfin.get("/Items", params={**FILMS, "startIndex": 0}).status_code == 200
    assert tmdb.get("/tv/popular?language=en").status_code == 200


def test_a_failed_write_changes_nothing(simulator: RunningSimulator, jellyfin: httpx.Client) -> None:
    owner = next(user["Id"] for user in jellyfin.get("/Users").json() if user["Name"] == "never played")
    (film,) = simulator.state.item_ids("movie:900000005")
    simulator.state.add_fault(FaultRule("jellyfin", "/UserPlayedItems", status=500, times=1))
    assert jellyfin.post(f"/UserPlayedItems/{film}", params={"userId": owner}).status_code == 500
    assert jellyfin.get(f"/UserItems/{film}/UserData", params={"userId": owner}).json()["Played"] is False


def test_a_slow_response_is_correct_and_does_not_delay_others(
    simulator: RunningSimulator, jellyfin: httpx.Client
) -> None:
    fault(simulator, "slow", delay_seconds=10, times=1)
    with pytest.raises(httpx.ReadTimeout):
        jellyfin.get("/Items", params=FILMS, timeout=0.1)
    assert jellyfin.get("/Items", params=FILMS, timeout=9).status_code == 200


def test_a_connection_can_be_cut_off_in_the_middle_of_a_body(
    simulator: RunningSimulator, jellyfin: httpx.Client
) -> None:
    fault(simulator, "cut_off", times=1)
    with pytest.raises(httpx.RemoteProtocolError):
        jellyfin.get("/Items", params=FILMS)
    assert jellyfin.get("/Items", params=FILMS).status_code == 200
    assert simulator.state.counters.statuses["jellyfin"][0] == 1


def test_malformed_json_and_html_come_with_status_200(simulator: RunningSimulator, jellyfin: httpx.Client) -> None:
    fault(simulator, "malformed_json", times=1)
    fault(simulator, "html", times=1)
    for kind in ("application/json", "text/html"):
        answer = jellyfin.get("/Items", params=FILMS)
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith(kind)
        with pytest.raises(json.JSONDecodeError):
            answer.json()


def test_listings_can_be_emptied(simulator: RunningSimulator, jellyfin: httpx.Client, tmdb: httpx.Client) -> None:
    fault(simulator, "empty_object", times=1)
    assert jellyfin.get("/Items", params=FILMS).json() == {}
    fault(simulator, "empty_list", times=1)
    assert jellyfin.get("/Items", params=FILMS).json() == {"Items": [], "TotalRecordCount": 0, "StartIndex": 0}
    fault(simulator, "empty_list", path_contains="/Users", times=1)
    assert jellyfin.get("/Users").json() == []
    simulator.state.add_fault(FaultRule("tmdb", "discover", "empty_list", times=1))
    assert tmdb.get("/discover/movie").json()["results"] == []


def test_a_field_can_be_missing_or_have_the_wrong_type(simulator: RunningSimulator, jellyfin: httpx.Client) -> None:
    fault(simulator, "missing_field", times=1)
    assert "Items" not in jellyfin.get("/Items", params=FILMS).json()
    fault(simulator, "wrong_type", times=1)
    assert isinstance(jellyfin.get("/Items", params=FILMS).json()["Items"], str)
    fault(simulator, "missing_field", field="Name", times=1)
    assert all("Name" not in item for item in jellyfin.get("/Items", params=FILMS).json()["Items"])
    fault(simulator, "wrong_type", field="TotalRecordCount", times=1)
    assert isinstance(jellyfin.get("/Items", params=FILMS).json()["TotalRecordCount"], list)
    fault(simulator, "missing_field", path_contains="/Users", times=1)
    users = jellyfin.get("/Users").json()
    assert "Id" not in users[0] and "Id" in users[1]


def test_pages_can_shift_while_they_are_read(simulator: RunningSimulator, jellyfin: httpx.Client) -> None:
    def page(start: int) -> tuple[list[str], int]:
        query = {**FILMS, "sortBy": "DateCreated", "startIndex": start, "limit": 4}
        answer = jellyfin.get("/Items", params=query).json()
        return [item["Id"] for item in answer["Items"]], answer["TotalRecordCount"]

    keys = {item: key for key in simulator.state.titles for item in simulator.state.item_ids(key)}
    before, total = page(0)
    second, _ = page(4)
    last = page(total - 1)[0][0]
    simulator.state.remove_title(keys[last])
    fault(simulator, "shift", leaves=keys[before[0]], comes=keys[last], times=1, after=1)
    assert page(0) == (before, total - 1)
    shifted, still = page(4)
    assert shifted[:3] == second[1:] and still == total - 1
    assert page(0)[0] == [*before[1:], second[0]], "and stay so"


def test_a_shift_of_an_unknown_title_is_refused(simulator: RunningSimulator) -> None:
    with pytest.raises(ValueError, match="leaves or comes"):
        FaultRule("jellyfin", kind="shift")
    with pytest.raises(ValueError, match="field"):
        FaultRule("jellyfin", kind="wrong_type", entry_contains="x")
    with pytest.raises(KeyError):
        simulator.state.add_fault(FaultRule("jellyfin", kind="shift", leaves="movie:none"))


def test_an_impossible_fault_is_refused() -> None:
    with pytest.raises(ValueError, match="unknown kind"):
        FaultRule("jellyfin", kind="meteor")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="not an HTTP status"):
        FaultRule("jellyfin", status=42)
