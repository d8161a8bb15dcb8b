"""How a user's account on Trakt stands: four states, the events that change them, and one table of what leads where.

Everything that depends on the state of an account asks :func:`next_state`. The states:

- ``off``: the user has connected no account.
- ``connected``: requests can be sent.
- ``waiting``: Trakt asked the user for something that only they can do there, or refused a token that it had just
  renewed. Nothing is sent until a moment, after which one attempt shows whether that has changed.
- ``reconnect``: the tokens are void, or cannot be used here. The user must connect again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from aperture_dagster.model import is_future

StateName = Literal["off", "connected", "waiting", "reconnect"]
EventName = Literal["connect", "disconnect", "look", "serve", "refuse", "void"]
# One attempt a day shows whether a user did what Trakt asked for.
WAIT = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class AccountState:
    """The state of an account.

    Attributes:
        reason: why it is ``waiting`` or ``reconnect``, in a sentence without its full stop.
        until: when ``waiting`` ends.
    """

    name: StateName
    reason: str | None = None
    until: datetime | None = None

    def waits(self, now: datetime) -> bool:
        """Return whether its wait is not over. A wait longer than any was written by a clock that was ahead."""
        return self.until is not None and self.until > now and not is_future(self.until, now + WAIT)


@dataclass(frozen=True, slots=True)
class Event:
    """What happens to an account.

    ``connect``, ``disconnect``: its user does. ``look``: somebody wants to know its state. ``serve``: Trakt answered a
    request. ``refuse``: Trakt asks the user for something. ``void``: its tokens cannot be used any more.

    ``reason``: of ``refuse`` and ``void``, as a sentence without its full stop.
    """

    name: EventName
    reason: str | None = None


OFF = AccountState("off")
CONNECT, DISCONNECT, LOOK, SERVE = Event("connect"), Event("disconnect"), Event("look"), Event("serve")
# What leads out of ``waiting`` by ``look`` or ``serve`` does so once the wait is over.
TRANSITIONS: Mapping[StateName, Mapping[EventName, StateName]] = {
    "off": {
        "connect": "connected",
        "disconnect": "off",
        "look": "off",
        "serve": "off",
        "refuse": "off",
        "void": "off",
    },
    "connected": {
        "connect": "connected",
        "disconnect": "off",
        "look": "connected",
        "serve": "connected",
        "refuse": "waiting",
        "void": "reconnect",
    },
    "waiting": {
        "connect": "connected",
        "disconnect": "off",
        "look": "connected",
        "serve": "connected",
        "refuse": "waiting",
        "void": "reconnect",
    },
    "reconnect": {
        "connect": "connected",
        "disconnect": "off",
        "look": "reconnect",
        "serve": "reconnect",
        "refuse": "reconnect",
        "void": "reconnect",
    },
}


def next_state(state: AccountState, event: Event, now: datetime) -> AccountState:
    """Return the state of an account after an event."""
    name, is_early = TRANSITIONS[state.name][event.name], state.waits(now)
    if is_early and event.name in ("look", "serve"):
        return state
    if name == "waiting":
        until = now + WAIT
        return AccountState(name, event.reason, max(until, state.until) if is_early and state.until else until)
    if name == "reconnect":
        # What was known first stays: it is what made the tokens void.
        return state if state.name == name else AccountState(name, event.reason)
    return AccountState(name)
