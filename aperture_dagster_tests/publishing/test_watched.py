"""Which state an original and its copies should have, given theirs and what they last agreed on."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aperture_dagster.media_server.records import ItemState
from aperture_dagster.publishing.sharing import (
    NOTHING,
    Copy,
    Pending,
    Watched,
    WatchState,
    agreement,
    changes,
    settle,
    state_of,
)

NOW = datetime(2026, 5, 17, 20, 0, tzinfo=UTC)


def seen(hours_ago: float | None = None, position: float = 0.0, favorite: bool = False) -> WatchState:
    """Finished so long ago, or begun if there is a position."""
    at = NOW - timedelta(hours=hours_ago) if hours_ago is not None else None
    return WatchState(Watched(not position, position, at), favorite)


def both(state: WatchState) -> tuple[WatchState, WatchState]:
    return state, state


@pytest.mark.parametrize(
    ("original", "copy", "agreed", "wanted"),
    [
        # First sight: the later one wins, and of one date the one that is further.
        (NOTHING, seen(2), None, seen(2)),
        (seen(2), NOTHING, None, seen(2)),
        (seen(1), seen(2, 0.5), None, seen(1)),
        (seen(2), seen(1, 0.5), None, seen(1, 0.5)),
        (seen(1, 0.5), seen(1), None, seen(1)),
        (seen(), seen(9, 0.5), None, seen(9, 0.5)),
        # One of them has news.
        (seen(3), seen(1, 0.2), both(seen(3)), seen(1, 0.2)),
        (seen(1, 0.2), seen(3), both(seen(3)), seen(1, 0.2)),
        (seen(1, 0.5), seen(1, 0.3), both(seen(1, 0.5)), seen(1, 0.3)),
        (seen(1, 0.5), seen(1), both(seen(1, 0.5)), seen(1)),
        # What is older than what they had undoes nothing, wherever it comes from.
        (seen(2), seen(9, 0.5), both(seen(2)), seen(2)),
        # A mark that was taken back on the original, also if it was played on the copy since.
        (NOTHING, seen(2), both(seen(2)), NOTHING),
        (NOTHING, seen(1), both(seen(2)), seen(1)),
        # Favourites have no date.
        (NOTHING, seen(2, favorite=True), both(seen(2)), seen(2, favorite=True)),
    ],
)
def test_both_get_the_state_that_is_the_latest(
    original: WatchState, copy: WatchState, agreed: tuple[WatchState, WatchState] | None, wanted: WatchState
):
    if original == NOTHING and copy.favorite:
        # The two parts of a state are settled apart: the mark is taken back, the favourite is news.
        wanted = NOTHING._replace(favorite=True)
    assert settle(original, [Copy(copy, agreed)]) == (wanted, [wanted])


def test_a_mark_that_was_taken_back_on_a_copy_stays_there_until_the_original_has_news():
    agreed = both(seen(2, favorite=True))
    assert settle(agreed[0], [Copy(NOTHING, agreed)]) == (agreed[0], [NOTHING])
    returned = Copy(agreed[1], None, left=agreed[1])
    assert settle(NOTHING, [returned]) == (NOTHING, [NOTHING]), "taken back while the copy was on no list"
    later = seen(1, favorite=True)
    assert settle(later, [Copy(NOTHING, agreed)]) == (later, [WatchState(later.watched)])


def test_of_several_copies_the_latest_reaches_all():
    copies = [Copy(seen(5, 0.5), None), Copy(seen(1), both(NOTHING)), Copy(NOTHING, None)]
    assert settle(NOTHING, copies) == (seen(1), [seen(1)] * 3)


def test_what_an_interrupted_run_has_written_is_no_news_and_the_rest_is_decided_again():
    before, begun = both(seen(9)), seen(1, 0.5)
    to_original = Pending(begun, begun, to_original=True, to_copy=False)
    assert agreement(begun, seen(1, 0.3), before, to_original) == both(begun)
    assert agreement(seen(9), begun, before, to_original) == before
    to_copy = Pending(NOTHING, NOTHING, to_original=False, to_copy=True)
    agreed = agreement(NOTHING, seen(9), before, to_copy)
    assert settle(NOTHING, [Copy(seen(9), agreed)]) == (NOTHING, [NOTHING]), "the mark is not set again"


states = st.builds(
    WatchState,
    st.none()
    | st.builds(
        Watched,
        st.just(False),
        st.sampled_from([0.2, 0.5]),
        st.none() | st.sampled_from([NOW - timedelta(hours=n) for n in range(3)]),
    )
    | st.builds(
        Watched, st.just(True), st.just(0.0), st.none() | st.sampled_from([NOW - timedelta(hours=n) for n in range(3)])
    ),
    st.booleans(),
)
copies_of = st.lists(st.builds(Copy, states, st.none() | st.tuples(states, states)), min_size=1, max_size=3)


@given(states, copies_of)
def test_what_was_settled_has_nothing_left_to_write_and_no_play_is_lost_to_an_older_one(
    original: WatchState, copies: list[Copy]
):
    newest, wanted = settle(original, copies)
    again = [Copy(state, (newest, state)) for state in wanted]
    assert settle(newest, again) == (newest, wanted)
    dates = [one.watched.at for one in (original,) if one.watched is not None and one.watched.at is not None]
    if dates:
        assert newest.watched is not None and newest.watched.at is not None and newest.watched.at >= max(dates)


def item(**facts: object) -> ItemState:
    return ItemState("film", **facts)  # pyright: ignore[reportArgumentType]


def test_only_what_differs_is_written():
    played = item(played=True, play_count=1, last_played_at=NOW - timedelta(hours=1))
    begun = item(position_share=0.5, position_ticks=77, play_count=1, last_played_at=NOW - timedelta(hours=2))
    finished, half = state_of(played, NOW), state_of(begun, NOW)
    date = {"LastPlayedDate": "2026-05-17T19:00:00.000000Z"}
    assert changes(played, finished, played, now=NOW) == {}
    assert changes(begun, finished, played, now=NOW) == {
        "Played": True, "PlayCount": 1, "PlaybackPositionTicks": 0, **date,
    }  # fmt: skip
    # It was seen twice.
    earlier = played._replace(last_played_at=NOW - timedelta(days=9))
    assert changes(earlier, finished, played, now=NOW)["PlayCount"] == 2
    # One without a date was shared while this clock was behind the server's, or is a mark.
    assert changes(played._replace(last_played_at=None), finished, played, now=NOW)["PlayCount"] == 1
    # An earlier play stays marked.
    assert changes(earlier, half, begun, now=NOW) == {
        "PlaybackPositionTicks": 77, "LastPlayedDate": "2026-05-17T18:00:00.000000Z",
    }  # fmt: skip
    assert changes(played, NOTHING, item(), now=NOW) == {"Played": False, "PlayCount": 0, "PlaybackPositionTicks": 0}
    assert changes(item(), WatchState(None, True), item(favorite=True), now=NOW) == {"IsFavorite": True}


def test_what_proves_nothing_is_not_shared():
    ahead = item(played=True, last_played_at=NOW + timedelta(days=1))
    assert state_of(ahead, NOW) == WatchState(Watched(True, 0.0, None)), "it is older than anything"
    assert state_of(item(played=True, has_runtime=False, last_played_at=NOW), NOW) == NOTHING
