"""Other processes can run the operations of a simulator over HTTP."""

from __future__ import annotations

import httpx
import pytest

from aperture_dagster.simulator.counters import DailyQuota
from aperture_dagster.simulator.server import RunningSimulator, Simulator
from aperture_dagster.simulator.world import World
from aperture_dagster_tests.simulator.conftest import Control


def test_counters_can_be_read_and_reset(jellyfin: httpx.Client, control: Control) -> None:
    jellyfin.get("/Users")
    assert control("requests", service="jellyfin") == 1
    control("reset_counters")
    assert control("requests", service="jellyfin") == 0


def test_faults_can_be_set_and_removed(jellyfin: httpx.Client, control: Control) -> None:
    rule = {"service": "jellyfin", "path_contains": "/Users", "kind": "status", "retry_after": 7}
    number = control("add_fault", **rule)
    answer = jellyfin.get("/Users")
    assert (answer.status_code, answer.headers["retry-after"]) == (500, "7")
    control("remove_fault", fault_id=number)
    assert jellyfin.get("/Users").status_code == 200
    control("add_fault", **rule)
    control("clear_faults")
    assert jellyfin.get("/Users").status_code == 200
    control("add_fault", 400, service="jellyfin", kind="meteor")
    control("add_fault", 400, nonsense=1)
    control("add_fault", service="omdb", kind="huge", megabytes=1)
    control("remove_fault", 404, fault_id=99)


def test_a_day_also_ends_by_the_clock() -> None:
    clock = [100.0 * 86_400 - 10]
    quota = DailyQuota(2, clock=lambda: clock[0])
    assert [quota.take(), quota.take(), quota.take()] == [True, True, False]
    assert (quota.seconds_left, quota.resets_at) == (10, 100 * 86_400)
    clock[0] += 10
    assert (quota.remaining, quota.seconds_left, quota.resets_at) == (2, 86_400, 101 * 86_400)
    quota.take()
    quota.start_day()
    assert (quota.remaining, quota.resets_at) == (2, 102 * 86_400)


def test_pages_in_a_browser_cannot_control_anything(simulator: RunningSimulator) -> None:
    url = f"{simulator.control_url}/reset_counters"
    assert httpx.post(url, headers={"Origin": "http://example.org"}).status_code == 403


@pytest.mark.anyio
async def test_control_is_refused_from_other_machines(now) -> None:
    transport = httpx.ASGITransport(app=Simulator(World("empty")).app, client=("192.0.2.7", 1234))
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        assert (await client.post("/_control/reset_counters")).status_code == 403


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def test_unknown_operations_and_mounts_are_404(simulator: RunningSimulator, control: Control) -> None:
    control("nonsense", 404)
    control("settings", 404)
    assert httpx.get(simulator.url + "/jellyfinx/Users").status_code == 404
