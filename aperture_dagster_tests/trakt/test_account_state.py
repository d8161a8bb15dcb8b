"""The table of states of an account on Trakt, and what holds whatever happens in whatever order."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import get_args

from hypothesis import given
from hypothesis import strategies as st

from aperture_dagster.model import SKEW
from aperture_dagster.trakt.account_state import (
    CONNECT,
    DISCONNECT,
    LOOK,
    OFF,
    SERVE,
    TRANSITIONS,
    WAIT,
    AccountState,
    Event,
    EventName,
    StateName,
    next_state,
)

NOW = datetime(2026, 5, 17, 12, tzinfo=UTC)
STATES = get_args(StateName)
SECONDS = int(WAIT.total_seconds())
moments = st.timedeltas(timedelta(days=-10_000), timedelta(days=10_000)).map(lambda ahead: NOW + ahead)
reasons = st.sampled_from(["the account is locked", "another reason"])
refusals = st.builds(Event, st.just("refuse"), reasons)
voids = st.builds(Event, st.just("void"), reasons)
events = st.sampled_from([CONNECT, DISCONNECT, LOOK, SERVE]) | refusals | voids
histories = st.lists(st.tuples(events, moments), max_size=12)
"""Events by a clock that jumps anywhere."""


def after(history: list[tuple[Event, datetime]], state: AccountState = OFF) -> AccountState:
    """The state after a history."""
    for event, now in history:
        state = next_state(state, event, now)
    return state


def test_the_table_has_an_answer_to_every_event_in_every_state():
    assert set(TRANSITIONS) == set(STATES)
    for leads_to in TRANSITIONS.values():
        assert set(leads_to) == set(get_args(EventName)) and set(leads_to.values()) <= set(STATES)


@given(histories)
def test_whatever_happens_leads_to_a_state_that_says_what_it_must(history: list[tuple[Event, datetime]]):
    state = after(history)
    assert state.name in STATES
    assert (state.until is not None) == (state.name == "waiting")
    assert (state.reason is not None) == (state.name in ("waiting", "reconnect"))


@given(histories, st.lists(st.tuples(events.filter(lambda event: event != CONNECT), moments), max_size=12))
def test_only_connecting_leads_out_of_off_and_only_that_or_disconnecting_out_of_reconnect(
    before: list[tuple[Event, datetime]], history: list[tuple[Event, datetime]]
):
    state = after(before)
    assert next_state(state, CONNECT, NOW) == AccountState("connected")
    assert after(history, next_state(state, DISCONNECT, NOW)) == OFF
    void = AccountState("reconnect", "access was revoked")
    left = after(history, void)
    is_disconnected = any(event == DISCONNECT for event, _ in history)
    assert left == (OFF if is_disconnected else void), "the reason stays, too"


@given(
    refusals,
    st.lists(st.tuples(st.sampled_from([LOOK, SERVE]) | refusals, st.integers(0, SECONDS - 1)), max_size=12),
)
def test_a_wait_never_ends_early(refusal: Event, history: list[tuple[Event, int]]):
    state = next_state(AccountState("connected"), refusal, NOW)
    states = [state]
    for event, seconds in sorted(history, key=lambda entry: entry[1]):
        state = next_state(state, event, NOW + timedelta(seconds=seconds))
        states.append(state)
    assert all(state.name == "waiting" for state in states)
    assert all(former.until <= later.until for former, later in pairwise(states) if former.until and later.until)
    assert states[0].until == NOW + WAIT and next_state(states[0], LOOK, NOW - SKEW) == states[0], "clocks differ"
    assert next_state(states[0], LOOK, NOW + WAIT) == AccountState("connected"), "and ends then"
    assert next_state(states[0], SERVE, NOW + WAIT) == AccountState("connected")


@given(histories, moments)
def test_after_any_jump_of_the_clock_nothing_waits_for_much_longer_than_a_wait(
    history: list[tuple[Event, datetime]], now: datetime
):
    state = next_state(after(history), LOOK, now)
    if state.until is not None:
        assert now < state.until <= now + WAIT + SKEW
        assert next_state(state, LOOK, now + WAIT + SKEW) == AccountState("connected")
    # Once Trakt has answered, what a clock that was ahead had written is gone.
    served = next_state(state, SERVE, now)
    assert served.until is None or served == state


def test_a_wait_that_a_clock_ahead_wrote_ends_at_once_and_a_clock_behind_leaves_it():
    ahead = next_state(AccountState("connected"), Event("refuse", "locked"), NOW + timedelta(days=365))
    assert next_state(ahead, LOOK, NOW) == AccountState("connected")
    again = next_state(ahead, Event("refuse", "locked"), NOW)
    assert again.until == NOW + WAIT, "it begins anew"
    behind = next_state(AccountState("connected"), Event("refuse", "locked"), NOW - timedelta(days=365))
    assert next_state(behind, LOOK, NOW) == AccountState("connected")
