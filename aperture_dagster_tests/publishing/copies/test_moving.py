"""What is written to an original for what was watched on its copies, and what a copy keeps."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aperture_dagster.media_server.records import ItemState
from aperture_dagster.publishing.copies.news import Watched, is_tick, opinion_to_write, play_to_write, watched

NOW = datetime(2026, 5, 17, 20, 0, tzinfo=UTC)
NOTHING = ItemState("film")


def seen(hours_ago: float | None = None, position: float = 0.0, *, plays: int = 1, **facts: object) -> ItemState:
    """Finished so long ago, or begun if there is a position."""
    at = NOW - timedelta(hours=hours_ago) if hours_ago is not None else None
    given: dict[str, object] = {
        "played": not position, "play_count": plays, "position_share": position,
        "position_ticks": int(position * 1_000), "last_played_at": at, **facts,
    }  # fmt: skip
    return ItemState("film", **given)  # pyright: ignore[reportArgumentType]


def after(original: ItemState, *copies: ItemState) -> Watched | None:
    """How far somebody is with an original that has got what it lacks."""
    data = play_to_write(original, copies, now=NOW)
    return watched(written(original, data), NOW)


def written(original: ItemState, data: dict[str, object]) -> ItemState:
    ticks = data.get("PlaybackPositionTicks", original.position_ticks)
    date = data.get("LastPlayedDate")
    assert isinstance(ticks, int)
    return original._replace(
        played=bool(data.get("Played", original.played)),
        play_count=data.get("PlayCount", original.play_count),
        position_ticks=ticks,
        position_share=ticks / 1_000,
        last_played_at=datetime.fromisoformat(str(date)) if date else original.last_played_at,
    )


@pytest.mark.parametrize(
    ("original", "copy", "is_moved"),
    [
        (NOTHING, seen(2), True),
        (NOTHING, seen(2, 0.5), True),
        (seen(9), seen(1, 0.2), True),
        (seen(9, 0.5), seen(1, 0.2), True),
        # An older play of a copy overwrites nothing.
        (seen(1), seen(2, 0.5), False),
        (seen(1, 0.2), seen(2), False),
        # One play, which was moved before: it went on, or nothing happened since.
        (seen(1, 0.5), seen(1, 0.5), False),
        (seen(1, 0.5), seen(1, 0.8), True),
        (seen(1, 0.5), seen(1), True),
        (seen(1), seen(1, 0.5), False),
        # A client that goes on after its play was moved reports no date.
        (seen(1, 0.5), seen(None, 0.8, plays=0), True),
        (seen(1, 0.5), seen(None, plays=0), True),
        (seen(1, 0.5), seen(None, 0.3, plays=0), False),
        (seen(1), seen(None, 0.8, plays=0), False),
        # What has a date is later than a mark that has none.
        (seen(), seen(9, 0.5), True),
    ],
)
def test_the_later_play_is_on_the_original_afterwards(original: ItemState, copy: ItemState, is_moved: bool):
    data = play_to_write(original, [copy], now=NOW)
    assert bool(data) == is_moved
    if is_moved:
        there = watched(written(original, data), NOW)
        play = watched(copy, NOW)
        assert there is not None and play is not None and there[:2] == play[:2]
        assert there.at == play.at or (play.at is None and there.at == original.last_played_at)
    assert play_to_write(written(original, data), [copy], now=NOW) == {}, "a second run has nothing to write"


dates = st.none() | st.sampled_from([0.0, 1.0, 2.0, 3.0])
states = st.builds(seen, dates, st.sampled_from([0.0, 0.2, 0.5, 0.9]), plays=st.integers(0, 2)) | st.just(NOTHING)


@given(states, st.lists(states, min_size=1, max_size=3))
def test_no_later_play_is_lost_and_what_is_there_is_not_written_again(original: ItemState, copies: list[ItemState]):
    there = after(original, *copies)
    known = [play.at for one in (original, *copies) if not is_tick(one) and (play := watched(one, NOW)) and play.at]
    if known:
        assert there is not None and there.at == max(known)
    data = play_to_write(original, copies, now=NOW)
    assert play_to_write(written(original, data), copies, now=NOW) == {}


def test_only_what_differs_is_written():
    played, half = seen(1), seen(2, 0.5)
    date = {"LastPlayedDate": "2026-05-17T19:00:00.000000Z"}
    assert play_to_write(played, [played], now=NOW) == {}
    assert play_to_write(half, [played], now=NOW) == {
        "Played": True, "PlayCount": 1, "PlaybackPositionTicks": 0, **date,
    }  # fmt: skip
    assert play_to_write(seen(99), [played], now=NOW)["PlayCount"] == 2, "it was seen twice"
    assert play_to_write(seen(), [played], now=NOW)["PlayCount"] == 1, "the mark may be of the same play"
    # An earlier play stays marked.
    assert play_to_write(seen(99), [half], now=NOW) == {
        "PlaybackPositionTicks": 500, "LastPlayedDate": "2026-05-17T18:00:00.000000Z",
    }  # fmt: skip
    assert opinion_to_write(NOTHING, [NOTHING, seen(1, favorite=True)]) == {"IsFavorite": True}
    assert opinion_to_write(seen(1, favorite=True), [seen(1, favorite=True)]) == {}


@pytest.mark.parametrize(
    ("original", "copies", "is_written"),
    [
        (None, [10.0], {"Rating": 10.0}),
        (None, [None, 1.0], {"Rating": 1.0}),
        (8.0, [10.0], {"Rating": 10.0}),
        # What has no opinion takes none away, and what is there is not written again.
        (8.0, [None, 0.0], {}),
        (10.0, [10.0], {}),
        # Several have one answer, so that a second run has nothing to write.
        (None, [1.0, 10.0], {"Rating": 10.0}),
        (10.0, [1.0, 10.0], {}),
    ],
)
def test_the_rating_of_a_copy_is_the_latest(
    original: float | None, copies: list[float | None], is_written: dict[str, float]
):
    given = [NOTHING._replace(rating=one) for one in copies]
    assert opinion_to_write(NOTHING._replace(rating=original), given) == is_written


def test_what_proves_nothing_is_not_moved():
    assert play_to_write(seen(1), [seen(-24)], now=NOW) == {}, "a date in the future is that of a wrong clock"
    assert play_to_write(NOTHING, [seen(1, has_runtime=False)], now=NOW) == {}, "played as soon as it was started"
    assert play_to_write(NOTHING, [seen(1, plays=0)], now=NOW) == {}, "the tick of Top Picks is no play"


def test_a_tick_is_told_from_a_play_by_its_count_and_from_the_end_of_one_by_its_date():
    assert is_tick(seen(1, plays=0))
    for other in (seen(1), seen(1, 0.5, plays=0), seen(None, plays=0), NOTHING):
        assert not is_tick(other)
