"""Every kind of fault in every kind of request: films, series and episodes, users, histories.

Each time, no data is lost, and the message is clear. After the fault, the next run makes up for it.
"""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime
from typing import Any

import pytest

from aperture_dagster.simulator.faults import FaultRule
from aperture_dagster.simulator.world import Play, WorldUser
from aperture_dagster_tests.conftest import tuned
from aperture_dagster_tests.e2e.library import title
from aperture_dagster_tests.household import Household, failures, rows_written

pytestmark = pytest.mark.e2e

# For each kind of request: job, step, and how many requests succeed before the fault. Most fail half-way.
SUBJECTS = {
    "users": ("sync_users", "users", 0),
    "movies": ("sync_movies", "movies", 1),
    "series": ("sync_series", "series", 1),
    "episodes": ("sync_series", "episodes", 1),
    "watch_history": ("sync_watch_history", "watch_history", 1),
}
# Transient faults, and words in the message to the operator if they persist.
OUTAGES: dict[str, tuple[dict[str, Any], str]] = {
    "429": ({"status": 429, "retry_after": "0"}, "429"),
    "500": ({"status": 500}, "500"),
    "slow": ({"kind": "slow", "delay_seconds": 0.7}, "no answer in time"),
    "cut off": ({"kind": "cut_off"}, "closed"),
    "malformed": ({"kind": "malformed_json"}, "not JSON (application/json"),
    "html": ({"kind": "html"}, "not JSON (text/html"),
}
FEW = ("429", "cut off", "html")
AT_NIGHT = pytest.mark.nightly(
    reason="Every fault in every request of both servers: a minute and a half of processor time.",
    instead="the same test on the other server, or with other requests",
)
# What `make test` has. Other reads, and those of Jellyfin, have the same transport.
MATRIX = [
    pytest.param(
        server,
        subject,
        tuple(OUTAGES) if server == "jellyfin" else FEW,
        marks=[] if (server, subject) == ("emby", "series") else AT_NIGHT,
    )
    for server in ("jellyfin", "emby")
    for subject in SUBJECTS
]
# State of the services, and what says when something was done.
IGNORED = ("services", "quota", "history_syncs")


def requests_about(server: str, subject: str) -> str:
    """Return a part of the path or query of the requests about a subject."""
    emby = server == "emby"
    return {
        "users": "/Users/Query" if emby else "/Users",
        "movies": "ncludeItemTypes=Movie&",
        "series": "ncludeItemTypes=Series&",
        "episodes": "ncludeItemTypes=Episode&",
        "watch_history": "/Items?" if emby else "userId=",
    }[subject]


def lost(before: dict[str, Any], home: Household) -> dict[str, Any]:
    """Return the rows that are no longer there."""
    after = home.snapshot()
    gone = {table: Counter(rows) - Counter(after[table]) for table, rows in before.items() if table not in IGNORED}
    return {table: rows for table, rows in gone.items() if rows}


@pytest.mark.parametrize(("server", "subject", "names"), MATRIX)
def test_an_outage_loses_nothing_and_a_transient_one_is_retried(
    settled: Any, server: str, subject: str, names: tuple[str, ...]
):
    job, step, passing = SUBJECTS[subject]
    service = {"jellyfin": "Jellyfin", "emby": "Emby"}[server]
    with settled(server=server, step_retries=0) as (simulator, home, _), tuned(page_size=8):
        home.note_addresses()
        state, users = simulator.state, home.everyone() if job == "sync_watch_history" else None
        # Something new for every job, which changes no row that is there.
        state.add_user(WorldUser("newcomer"))
        state.add_title(title(1))
        state.add_title(title(2, media_type="series"))
        state.play(Play("ada0", "movie:1", datetime.now(UTC)))
        before = home.snapshot()

        def fault(kind: dict[str, Any], **more: Any) -> None:
            state.add_fault(FaultRule(server, **{"path_contains": requests_about(server, subject), **kind, **more}))

        quick = {"media_server_timeout_seconds": 0.35, "http_retry_wait_seconds": 0.001}
        impatient = Household(home.settings.model_copy(update={"http_attempts": 2, **quick}), home.instance)
        for kind, why in (OUTAGES[name] for name in names):
            fault(kind, after=passing)
            told = failures(impatient.run(job, users=users))
            assert list(told) == [step], (kind, told)
            assert service in told[step] and why in told[step] and "kept" in told[step]
            assert "key" not in told[step] and "\n" not in told[step]
            assert lost(before, home) == {}
            state.clear_faults()
        # All transient faults once, some of them in a row.
        for number, (kind, _) in enumerate(OUTAGES[name] for name in names if name != "malformed"):
            fault(kind, after=passing if number == 0 else (number + 1) % 2, times=1)
        patient = Household(home.settings.model_copy(update={"http_attempts": 10, **quick}), home.instance)
        patient.must(job, users=users)
        assert state.faults.active() == {}, "every fault occurred"
        assert lost(before, home) == {}
        again = home.must(job, users=users)
        assert set(rows_written(again).values()) <= {0}, "nothing was left"
