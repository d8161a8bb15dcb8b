"""The thread that keeps rows registered looks once a minute, also while the server is away."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest

from aperture_dagster.http.errors import ServiceUnavailable
from aperture_dagster.publishing.server import row_keeper
from aperture_dagster.publishing.server.row_keeper import LOOK_SECONDS, RowKeeper


# How the test ends the thread.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_it_waits_a_minute_after_each_look_and_after_each_failure(monkeypatch: pytest.MonkeyPatch):
    looks: list[str] = []
    waits: list[float] = []
    over = threading.Event()

    @contextmanager
    def open_server() -> Any:
        looks.append("opened")
        if len(looks) == 1:
            raise ServiceUnavailable("it is away")
        yield SimpleNamespace(transport=None)

    def asking() -> None:
        looks.append("looked")
        # However it waits, it must not ask for ever.
        if len(looks) > 20:
            raise SystemExit

    def sleep(seconds: float) -> None:
        waits.append(seconds)
        if len(waits) == 4:
            over.set()
            raise SystemExit

    monkeypatch.setattr(row_keeper, "time", SimpleNamespace(sleep=sleep))
    RowKeeper(lambda: 0, open_server, lambda: "http://here/{row}", asking).start()
    assert over.wait(20), looks
    for thread in threading.enumerate():
        if thread.name == "home rows":
            thread.join(20)
    assert looks == ["opened", "opened", "looked", "looked", "looked"]
    assert waits == [LOOK_SECONDS] * 4 and LOOK_SECONDS >= 30
