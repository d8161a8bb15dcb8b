"""Kills between an effect and its note, where a kill at a random moment hardly ever falls.

A run that sends something, or writes files, notes it before and after. Each point here is one of these gaps: the home
is killed when it comes there, and has to find out afterwards how far it was.
"""

from __future__ import annotations

import os
import re
import signal
import threading
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import httpx
from sqlalchemy import Engine, event
from sqlalchemy.engine.default import DefaultDialect


@dataclass(frozen=True, slots=True)
class Point:
    """Where a home is killed.

    Attributes:
        name: for people.
        when: after a request was answered; before a statement that writes a table; or after the commit of one.
        what: a pattern of the request (method and path), or of the statement.
        times: at how many such moments nothing happens before.
        values: what the values of the statement contain.
        is_rare: whether it is passed a few times in a month.
    """

    name: str
    when: Literal["request", "before", "committed"]
    what: str
    times: int = 0
    values: str = ""
    is_rare: bool = False


def writes(table: str) -> str:
    """Return a pattern of the statements that write a table."""
    return rf"(?:INSERT\s+INTO|UPDATE|DELETE\s+FROM)\s+{table}\b"


POINTS = (
    Point("a request to Seerr is noted and not sent", "committed", writes("seerr_requests"),
          values='"state": "sending"'),
    Point("a request arrived on Seerr, and its answer is lost", "request", r"POST /seerr/.*/request$"),
    Point("ratings are noted as being sent to Trakt, and are not", "committed",
          r"UPDATE rating_outbox SET attempted_at"),
    Point("ratings arrived on Trakt, and the answer is lost", "request", r"POST /trakt/sync/ratings", is_rare=True),
    Point("entries of a library are noted and not placed", "committed", writes("published_entries"), values="planned"),
    Point("entries of a library are placed and not noted", "before", writes("published_entries"), values="placed"),
    Point("a library was created on the server, and that is not noted", "request",
          r"POST /jellyfin/Library/VirtualFolders$", is_rare=True),
    Point("a list was created, and that is not noted", "request",
          r"POST /jellyfin/(Collections|Playlists)$", is_rare=True),
    Point("a user's rights were set, and that is not noted", "request", r"POST /jellyfin/Users/.*/Policy",
          is_rare=True),
    Point("a rating was set on the server, and that is not noted", "request",
          r"POST /jellyfin/UserItems/.*/UserData", is_rare=True),
    Point("a page of a history is stored, and the end is not reached", "committed", writes("watch_state")),
    Point("a day's Top Picks are stored, and the run has not ended", "committed", writes("top_picks")),
    Point("answers of a service are stored, and the run has not ended", "committed", writes("fetches"), times=3),
)  # fmt: skip


class PointKiller:
    """Kills this process with ``kill -9`` at points.

    Args:
        note: a file in which the name of the point is written before.
    """

    def __init__(self, note: Path) -> None:
        self._note = note
        self._left: dict[Point, int] = {}
        self._writing = threading.local()
        self._install()

    def arm(self, names: Collection[str]) -> None:
        """Kill at the first of these points that is reached from now on."""
        self._left = {point: point.times for point in POINTS if point.name in names}

    def _arrive(self, point: Point) -> None:
        if self._left.get(point):
            self._left[point] -= 1
        elif point in self._left:
            self._note.write_text(point.name, encoding="utf-8")
            os.kill(os.getpid(), signal.SIGKILL)

    def _reached(self, when: str, text: str, values: Any = "") -> list[Point]:
        return [
            point
            for point in self._left
            if point.when == when and re.search(point.what, text) and point.values in str(values)
        ]

    def _install(self) -> None:
        commit, send = DefaultDialect.do_commit, httpx.Client.send

        def execute(_connection: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
            for point in self._reached("before", statement, parameters):
                self._arrive(point)
            if written := self._reached("committed", statement, parameters):
                self._writing.points = [*getattr(self._writing, "points", ()), *written]

        def committed(dialect: DefaultDialect, connection: Any) -> None:
            commit(dialect, connection)
            points, self._writing.points = getattr(self._writing, "points", ()), []
            for point in points:
                self._arrive(point)

        def sent(client: httpx.Client, request: httpx.Request, **options: Any) -> httpx.Response:
            response = send(client, request, **options)
            if response.is_success:
                for point in self._reached("request", f"{request.method} {request.url.path}"):
                    self._arrive(point)
            return response

        event.listen(Engine, "before_cursor_execute", execute)
        setattr(DefaultDialect, "do_commit", committed)  # noqa: B010
        setattr(httpx.Client, "send", sent)  # noqa: B010
