"""Property tests with a model of a server: whatever the clocks do, every play is counted once."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from aperture_dagster.catalogue.history.viewings import Viewing, ViewState, viewing_between

START = datetime(2026, 5, 1, tzinfo=UTC)
FAR_FUTURE = 700_000
moments = st.datetimes(datetime(1901, 1, 1), datetime(9999, 12, 31), timezones=st.just(UTC))  # noqa: DTZ001
shares = st.floats(0, 1)
states = st.builds(ViewState, st.booleans(), st.integers(0, 50), shares, st.none() | moments)


class Server:
    """One item of one user on a server that dates and counts a play at its start, by its own clock.

    Args:
        keeps_the_latest: keep a date that is later than the clock.
    """

    def __init__(self, *, keeps_the_latest: bool = False) -> None:
        self.state = ViewState(False, 0, 0.0, None)
        self.finished = 0
        self._keeps = keeps_the_latest

    def start(self, clock: datetime) -> None:
        last = self.state.last_played_at
        when = max(last, clock) if self._keeps and last is not None else clock
        self.state = ViewState(False, self.state.play_count + 1, 0.0, when)

    def reach(self, share: float) -> None:
        """Continue the play; at the end, mark the item as played."""
        before = self.state
        if before.last_played_at is None or before.played:
            return
        if share >= 0.9:
            self.finished += 1
            self.state = ViewState(True, before.play_count, 0.0, before.last_played_at)
        elif share > before.position_share:
            self.state = ViewState(False, before.play_count, share, before.last_played_at)


class Log:
    """The log that results from reading the server's item, by our clock."""

    def __init__(self) -> None:
        self.before: ViewState | None = None
        self.lines: dict[datetime, Viewing] = {}

    def read(self, now: datetime, state: ViewState) -> None:
        viewing = viewing_between(self.before, state, now=now)
        self.before = state
        if viewing is not None:
            assert viewing.played_at <= now
            assert 0 <= viewing.completion <= 1
            line = self.lines.get(viewing.played_at, viewing)
            count, completion = max(line.play_count, viewing.play_count), max(line.completion, viewing.completion)
            self.lines[viewing.played_at] = Viewing(viewing.played_at, count, completion)

    @property
    def plays(self) -> int:
        return sum(line.play_count for line in self.lines.values())


# Hours to the next play, how many hours the server's clock is off, and the progress of the play step by step.
evenings = st.lists(
    st.tuples(
        st.integers(1, 500),
        st.sampled_from([0, FAR_FUTURE, -600_000, -48, -1, 1, 5]),
        st.lists(st.sampled_from([1.0, 0.9, 0.6, 0.3, 0.02, 0.0]), min_size=1, max_size=3),
    ),
    max_size=6,
)


@given(evenings, st.booleans())
def test_when_read_after_every_step_each_finished_play_is_counted_once_whatever_the_servers_clock_shows(
    evenings: list[Any], keeps_the_latest: bool
):
    server, log, now = Server(keeps_the_latest=keeps_the_latest), Log(), START
    for hours, wrong, progress in evenings:
        now += timedelta(hours=hours)
        # If the server keeps the latest date, plays under a past date cannot be distinguished: only try future dates.
        server.start(now + timedelta(hours=wrong if not keeps_the_latest or wrong == FAR_FUTURE else 0))
        for minutes, share in enumerate(progress, start=1):
            server.reach(share)
            log.read(now + timedelta(minutes=minutes), server.state)
            log.read(now + timedelta(minutes=minutes, seconds=30), server.state)
        assert log.plays == server.finished


@given(evenings, st.data())
def test_when_read_now_and_then_no_play_is_invented(evenings: list[Any], data: st.DataObject):
    server, log, now = Server(), Log(), START
    for hours, _, progress in evenings:
        now += timedelta(hours=hours)
        server.start(now)
        for minutes, share in enumerate(progress, start=1):
            server.reach(share)
            if data.draw(st.booleans()):
                # Our own clock may be wrong, too, in both directions.
                ours = now + timedelta(minutes=minutes, hours=data.draw(st.sampled_from([0, 0, -1, 1, 48, -48])))
                log.read(ours, server.state)
    log.read(now + timedelta(days=9), server.state)
    assert log.plays <= server.state.play_count
    assert len(log.lines) <= 2 * server.state.play_count
