"""The activity log of every server says who has just watched something, in one request."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from aperture_dagster.media_server.reader import parse_play
from aperture_dagster.simulator.responses import FaultRule
from aperture_dagster.simulator.world import Play
from aperture_dagster_tests.media_server.test_media_server_habits import SERVERS, served


@pytest.mark.parametrize("server", SERVERS)
def test_plays_that_ended_are_listed_with_their_users_and_nothing_else_is(server: str):
    now = datetime.now(UTC)
    with served(server) as (running, client):
        state = running.state
        (one, *_), film = state.users.values(), next(iter(state.titles))
        for hours in (3, 1):
            state.play(Play(one.name, film, now - timedelta(hours=hours)))
        state.mark_played(one.name, film)
        before = client.requests
        found = client.plays_ended(now - timedelta(hours=2))
        assert client.requests - before == 1
        assert found is not None
        assert [(play.user_id, abs(play.at - now + timedelta(hours=1)) < timedelta(seconds=1)) for play in found] == [
            (one.id, True)
        ]
        assert len(client.plays_ended(now - timedelta(hours=4)) or ()) == 2
        state.add_fault(FaultRule("*", "/System/ActivityLog/Entries", status=404))
        assert client.plays_ended(now) is None


@pytest.mark.parametrize("kind", ["VideoPlaybackStopped", "playback.stop"])
def test_an_entry_is_a_play_by_its_type(kind: str):
    entry = {"Id": 7, "Type": kind, "Date": "2026-01-02T03:04:05.1234567Z", "UserId": "A" * 32}
    found = parse_play(entry)
    assert found is not None
    assert (found.entry, found.user_id, found.at.second) == ("7", "a" * 32, 5)
    assert parse_play(entry | {"Type": "VideoPlayback"}) is None
    assert parse_play({"Id": 8, "Type": "SessionStarted"}) is None
