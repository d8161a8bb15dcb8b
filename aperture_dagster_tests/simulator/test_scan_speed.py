"""Scans that take time for each film and episode, hang, or are forgotten by a server that is restarted."""

from __future__ import annotations

from typing import Any

import pytest

from aperture_dagster_tests.simulator.conftest import MakeServer
from aperture_dagster_tests.simulator.published import DEFAULT, NO_FETCHERS, ROOT, Server

A_FILM_IN_TEN_SECONDS: dict[str, Any] = {"scan_entries_per_second": 0.1}


def with_two_libraries(make: MakeServer, *about: Any) -> Server:
    """A server with two libraries of three films each."""
    server = make(*about, create=False, **A_FILM_IN_TEN_SECONDS)
    for name in "ab":
        for number in range(3):
            server.film(f"{name}/Film {number} (200{number}) [x]")
        server.create(name, path=f"{ROOT}/{name}")
    return server


def refresh(server: Server, *names: str) -> None:
    for name in names:
        query = {**DEFAULT, **({"Recursive": "true"} if server.is_emby else {})}
        assert server.client.post(f"/Items/{server.folders()[name]['ItemId']}/Refresh", params=query).status_code == 204


def look(server: Server, name: str) -> tuple[str, int | None, int]:
    """Status, progress and number of films of a library."""
    folder = server.folders()[name]
    progress = folder.get("RefreshProgress")
    films = server.items(name) if "ItemId" in folder else []
    return folder.get("RefreshStatus", ""), None if progress is None else round(progress), len(films)


@pytest.mark.parametrize("version", ["12.0.0", "emby"])
def test_films_appear_one_after_the_other_and_a_library_after_the_other(make: MakeServer, version: str) -> None:
    server = with_two_libraries(make, version)
    refresh(server, "a", "b")
    server.state.advance(1)
    assert [look(server, name) for name in "ab"] == [("Active", 0, 0), ("Queued", None, 0)]
    server.state.advance(20)
    assert [look(server, name) for name in "ab"] == [("Active", 67, 2), ("Queued", None, 0)]
    server.state.advance(20)
    assert [look(server, name) for name in "ab"] == [("Idle", None, 3), ("Active", 33, 1)]
    server.state.advance(20)
    assert [look(server, name) for name in "ab"] == [("Idle", None, 3), ("Idle", None, 3)]


def test_a_scan_of_everything_goes_through_the_libraries_and_shows_its_progress(make: MakeServer) -> None:
    server = with_two_libraries(make)
    server.state.start_scan()
    server.state.advance(41)
    (task,) = server.client.get("/ScheduledTasks").json()
    assert (task["State"], round(task["CurrentProgressPercentage"])) == ("Running", 67)
    assert [look(server, name) for name in "ab"] == [("Idle", None, 3), ("Active", 33, 1)]
    server.state.advance(20)
    (task,) = server.client.get("/ScheduledTasks").json()
    assert (task["State"], task["LastExecutionResult"]["Status"]) == ("Idle", "Completed")
    assert look(server, "b") == ("Idle", None, 3)


def test_what_is_gone_is_removed_at_the_end_of_a_scan(make: MakeServer) -> None:
    server = with_two_libraries(make)
    refresh(server, "a")
    server.state.advance(40)
    for path in (server.here / "a/Film 0 (2000) [x]").iterdir():
        path.unlink()
    refresh(server, "a")
    server.state.advance(11)
    assert look(server, "a") == ("Active", 50, 3)
    server.state.advance(10)
    assert look(server, "a") == ("Idle", None, 2)


def test_episodes_appear_one_after_the_other_while_the_progress_counts_series(make: MakeServer) -> None:
    server = make(create=False, **A_FILM_IN_TEN_SECONDS)
    for number in range(1, 4):
        server.write(f"Show (2001) [x]/Season 0{(number + 1) // 2}/Show S0{(number + 1) // 2}E0{number}.mkv")
    server.create(kind="tvshows", TypeOptions=NO_FETCHERS)
    refresh(server, "Lists")
    seen = []
    for _ in range(4):
        server.state.advance(10.5)
        folder = server.folders()["Lists"]
        seen.append((folder.get("RefreshProgress"), *(len(server.items(kind=kind)) for kind in ("Season", "Episode"))))
    assert seen == [(0.0, 1, 1), (0.0, 1, 2), (None, 2, 3), (None, 2, 3)]


def test_a_scan_that_hangs_goes_no_further_until_the_server_is_restarted(make: MakeServer) -> None:
    server = with_two_libraries(make)
    server.state.stall_scan("a", after=1)
    refresh(server, "a", "b")
    server.state.advance(100_000)
    assert [look(server, name) for name in "ab"] == [("Active", 33, 1), ("Queued", None, 0)]
    server.state.restart_server()
    assert [look(server, name) for name in "ab"] == [("Idle", None, 1), ("Idle", None, 0)]
    server.state.set_scan_speed(None)
    refresh(server, "a")
    server.state.wait_for_scans()
    assert look(server, "a") == ("Idle", None, 3)
    with pytest.raises(ValueError, match="positive"):
        server.state.set_scan_speed(0)
