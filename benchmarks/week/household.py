"""The stand-ins, and what happens in a household: plays and new titles."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import time
import urllib.request
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

MOVIES, SERIES, EPISODES, USERS, HISTORY = 300, 30, 600, 12, 2_400
PLAYS_A_DAY = 20
# Most plays happen in the evening.
HOURS = {9: 1, 13: 2, 16: 2, 17: 2, 18: 4, 19: 5, 20: 6, 21: 6, 22: 3}
NEW_TITLES = ((11, "movie"), (15, "movie"), (19, "series"))
FIRST_ID, FIRST_NEW_ID = 900_000_000, 990_000_000
PROJECT = Path(__file__).resolve().parents[2]


@dataclass(order=True, slots=True)
class Happening:
    """Something that happens on the media server."""

    at: datetime
    operation: str = field(compare=False)
    body: dict[str, Any] = field(compare=False)


def happenings(start: datetime, days: int, users: list[str], *, plays: int = PLAYS_A_DAY) -> list[Happening]:
    """All plays and new titles of the days, the same for the same arguments; ``plays`` are those of a day."""
    chance = random.Random(20)
    number = FIRST_NEW_ID
    found = []
    for day in range(days):
        midnight = start + timedelta(days=day)
        for hour in chance.choices(list(HOURS), weights=list(HOURS.values()), k=plays):
            at = midnight + timedelta(hours=hour, minutes=chance.randrange(60))
            body: dict[str, Any] = {"user": chance.choice(users), "played_at": at.isoformat()}
            if chance.random() < 0.5:
                body |= {"title_key": f"movie:{FIRST_ID + chance.randrange(MOVIES)}"}
            else:
                body |= {"title_key": f"series:{FIRST_ID + chance.randrange(SERIES)}"}
                body |= {"season": 1, "episode": chance.randint(1, 3)}
            found.append(Happening(at, "play", body))
        for hour, kind in NEW_TITLES:
            number, at = number + 1, midnight + timedelta(hours=hour)
            found.append(Happening(at, "add_title", _new_title(kind, number, at)))
    return sorted(found)


def _new_title(kind: str, number: int, at: datetime) -> dict[str, Any]:
    facts: dict[str, Any] = {
        "key": f"{kind}:{number}", "media_type": kind, "title": f"The New Arrival {number}", "year": at.year,
        "genres": ["Drama", "Mystery"], "overview": f"A stranger comes to harbour {number}, and nobody is told.",
        "keywords": ["harbour", "small town"], "cast": [f"Actor {number}"], "writers": [f"Writer {number}"],
        "companies": [f"Company {number % 7}"], "vote_average": 7.1, "vote_count": 240, "popularity": 9.5,
        "tmdb_id": number, "imdb_id": f"tt{number}", "runtime_minutes": 100, "language": "en",
        "release_date": at.date().isoformat(), "official_rating": "PG" if kind == "movie" else "TV-PG",
    }  # fmt: skip
    if kind == "series":
        facts |= {"episodes_per_season": [8], "tvdb_id": number, "creators": [f"Creator {number}"]}
    return facts


class StandIns:
    """The stand-ins in a process of their own, and their control interface."""

    def __init__(
        self,
        folder: Path,
        *,
        movies: int = MOVIES,
        series: int = SERIES,
        users: int = USERS,
        history: int | None = None,
    ) -> None:
        episodes, plays = series * EPISODES // SERIES, history or users * HISTORY // USERS
        world = f"generated:movies={movies},series={series},episodes={episodes},plays={plays},seed=3"
        port, log = folder / "port", (folder / "stand-ins.log").open("w+", encoding="utf-8")
        command = [sys.executable, "-m", "aperture_dagster.simulator", "--world", world, "--users", str(users)]
        command += ["--omdb-daily-limit", "100000", "--mdblist-daily-limit", "100000"]
        command += ["--port-file", str(port), "--parent-pid", str(os.getpid())]
        self._process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
        # Its address, and at once with it all variables.
        while not port.exists() or "simulator: " not in (folder / "stand-ins.log").read_text():
            if self._process.poll() is not None:
                raise RuntimeError((folder / "stand-ins.log").read_text())
            time.sleep(0.05)
        _, *lines = (folder / "stand-ins.log").read_text().splitlines()
        self._control = f"http://127.0.0.1:{port.read_text().strip()}/_control"
        self.environment = dict(line.split("=", 1) for line in lines if "=" in line)

    def users(self) -> list[str]:
        """Ask the media server for the names of its users."""
        url, key = (self.environment[f"APERTURE_MEDIA_SERVER_{name}"] for name in ("URL", "API_KEY"))
        return [
            user["Name"] for user in _answer(f"{url}/Users", headers={"Authorization": f'MediaBrowser Token="{key}"'})
        ]

    def apply(self, event: Happening) -> None:
        """Let something happen on the media server."""
        _answer(f"{self._control}/{event.operation}", json.dumps(event.body).encode())

    def stop(self) -> None:
        """End the process."""
        self._process.terminate()
        self._process.wait()


def environment(folder: Path, **more: str) -> dict[str, str]:
    """The environment of a process that simulates a household: no settings but these, and its home in ``folder``."""
    kept = {name: value for name, value in os.environ.items() if not name.upper().startswith("APERTURE_")}
    return kept | {
        "PYTHONPATH": str(PROJECT), "DAGSTER_HOME": str(PROJECT), "APERTURE_HOME": f"{folder}/home",
        "APERTURE_CONFIG": os.devnull, "APERTURE_TIMEZONE": "UTC", **more,
    }  # fmt: skip


def _answer(url: str, data: bytes | None = None, headers: dict[str, str] | None = None) -> Any:
    with urllib.request.urlopen(urllib.request.Request(url, data, headers or {}), timeout=30) as answer:
        return json.load(answer)
