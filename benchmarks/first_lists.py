"""Measure how soon a household has its first lists, and how soon a list follows a play.

    python benchmarks/first_lists.py [--movies 10000] [--users 20] [--only first|play]

Starts ``aperture up`` on an empty home, against stand-ins that keep the real limits of TMDb and OMDb, with all keys
set. Prints when the catalogue had been read, and when the last first list was there. Then it starts ``up`` again with
publishing turned on, waits until every list is on the server, lets one user finish a film, and prints when the list had
changed in the database and on the server. Nobody else's history may be read for that. Enrichment goes on all the time.

Exits with 1 if the last first list took longer than 60 seconds from the end of reading the catalogue, or the play
longer than 3 minutes to the list in the database and 5 to that on the server.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import httpx
from idle import PROJECT, Ui, aperture, free_port, running, wait_for
from verdict import Verdict

from aperture_dagster.simulator.settings import SimulatorSettings, environment
from aperture_dagster.simulator.worlds import FIRST_INVENTED_ID

FIRST_LISTS_SECONDS, IN_DATABASE_SECONDS, ON_SERVER_SECONDS = 60, 180, 300
CATALOGUE = ("movies", "series", "episodes")
LISTS = ("recommendations", "shows_you_watch")
TMDB_LIMIT, OMDB_DAILY_LIMIT = (40, 10.0), 1000
VOLUME = "/data/aperture"
MADE = """{ assetNodes(assetKeys: [%s]) { assetKey { path } partitionStats { numPartitions }
    assetMaterializations(limit: 2000) { timestamp partition } } }"""


@dataclass(frozen=True)
class Made:
    """When an asset was made: Unix seconds of the first and the last time, by partition."""

    partitions: int
    first: Mapping[str | None, float]
    last: Mapping[str | None, float]
    count: int

    @property
    def is_complete(self) -> bool:
        """Whether it was made for every partition; every asset has one or more."""
        return bool(self.first) and len(self.first) >= self.partitions


def main() -> int:
    """Run both parts, print the figures, and return 0 if all limits were kept."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--movies", type=int, default=10_000)
    parser.add_argument("--users", type=int, default=20)
    parser.add_argument("--only", choices=("first", "play"), help="one of the two parts")
    options = parser.parse_args()
    # So that what was started ends, too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    verdict = Verdict()
    with tempfile.TemporaryDirectory(prefix="aperture-first-lists-", ignore_cleanup_errors=True) as made:
        folder = Path(made).resolve()
        lists = folder / "lists"
        lists.mkdir()
        with stand_ins(options, folder, lists) as (root, settings):
            if options.only != "play":
                first_lists(folder, settings, verdict)
            if options.only != "first":
                publishing = {"APERTURE_PUBLISH": "true", "APERTURE_PUBLISH_ROOT": str(lists)}
                publishing["APERTURE_PATH_MAP"] = json.dumps({str(lists): VOLUME})
                play_to_list(root, folder, settings | publishing, verdict)
    return verdict.close()


@contextlib.contextmanager
def stand_ins(options: argparse.Namespace, folder: Path, lists: Path) -> Iterator[tuple[str, dict[str, str]]]:
    """Run the stand-ins; yield their address, and the environment of a home that uses them."""
    port_file = folder / "port"
    series = options.movies // 20
    world = f"generated:movies={options.movies},series={series},episodes={options.movies},plays={options.users * 500}"
    command = [sys.executable, "-m", "aperture_dagster.simulator", "--world", world, "--users", str(options.users)]
    command += ["--port-file", str(port_file), "--volume", f"{VOLUME}={lists}"]
    command += ["--tmdb-limit", *map(str, TMDB_LIMIT), "--omdb-daily-limit", str(OMDB_DAILY_LIMIT)]
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("APERTURE_", "DAGSTER_"))}
    kept |= {"PYTHONPATH": str(PROJECT), "APERTURE_HOME": str(folder / "home")}
    with running(command, folder / "stand-ins.log", env=kept, cwd=folder):
        wait_for(port_file.exists, "the stand-ins", every=0.2)
        root = f"http://127.0.0.1:{port_file.read_text().strip()}"
        limits = SimulatorSettings(tmdb_limit=TMDB_LIMIT, omdb_daily_limit=OMDB_DAILY_LIMIT)
        yield root, kept | environment(root, "jellyfin", limits)


@contextlib.contextmanager
def up(folder: Path, settings: dict[str, str]) -> Iterator[Ui]:
    """Run `aperture up`; yield its UI once it answers."""
    ui = Ui(free_port(), folder / "home")
    with running(aperture("up", "--port", str(ui.port)), folder / "up.log", env=settings, cwd=folder):
        wait_for(lambda: ui.ask("{ version }"), "the UI")
        yield ui


def first_lists(folder: Path, settings: dict[str, str], verdict: Verdict) -> None:
    """Measure the first lists of everybody on an empty home."""
    started = time.time()
    with up(folder, settings) as ui:
        wait_for(lambda: all(one.is_complete for one in made(ui, *LISTS).values()), "first lists")
        found = made(ui, *CATALOGUE, "watch_history", "embeddings", *LISTS)
        wait_for(lambda: announced(folder), "the line that says so")
    read = max(max(found[asset].first.values()) for asset in CATALOGUE)
    for asset in found:
        times = found[asset].first.values()
        print(f"{asset}: {min(times) - started:.0f} to {max(times) - started:.0f} s after the start")
    ready = max(max(found[asset].first.values()) for asset in LISTS)
    print(f"{found['recommendations'].partitions} users; from the start to the last list: {ready - started:.0f} s")
    print(*announced(folder), sep="\n")
    verdict.most("from the catalogue to the last first list", ready - read, FIRST_LISTS_SECONDS, " s")


def announced(folder: Path) -> list[str]:
    """Return the line by which `aperture up` says that the lists are ready."""
    return [line for line in (folder / "up.log").read_text().splitlines() if "lists are ready" in line]


def play_to_list(root: str, folder: Path, settings: dict[str, str], verdict: Verdict) -> None:
    """Measure how soon lists follow a play, in the database and on the server."""
    assets = ("watch_history", "recommendations", "recommendation_libraries")
    with up(folder, settings) as ui:
        wait_for(lambda: made(ui, assets[2])[assets[2]].is_complete, "published lists", every=5)
        # A run of everybody would not show whose play it was.
        wait_for(lambda: not unfinished_of_users(ui), "the end of the runs", every=2)
        before = made(ui, *assets)
        user = sorted(filter(None, before["recommendations"].last))[0]
        played = time.time()
        play = {"user": user, "title_key": f"movie:{FIRST_INVENTED_ID + 1}", "completion": 1.0}
        httpx.post(f"{root}/_control/play", json=play, timeout=20).raise_for_status()

        def followed() -> bool:
            now = made(ui, *assets)
            return all(now[asset].last[user] > played for asset in assets)

        wait_for(followed, "the list that follows a play")
        after = made(ui, *assets)
    seconds = {asset: after[asset].last[user] - played for asset in assets}
    print(", ".join(f"{asset} {spent:.0f} s after the play" for asset, spent in seconds.items()))
    others = [key for key, at in after["watch_history"].last.items() if at > played and key != user]
    verdict.most("from a play to the list in the database", seconds["recommendations"], IN_DATABASE_SECONDS, " s")
    verdict.most("from a play to the list on the server", seconds[assets[2]], ON_SERVER_SECONDS, " s")
    verdict.most("histories read of users who played nothing", len(others), 0)


def made(ui: Ui, *assets: str) -> dict[str, Made]:
    """Ask the UI's server when assets were made."""
    keys = ", ".join(f'{{path: ["{asset}"]}}' for asset in assets)
    answer = ui.ask(MADE % keys) or {"assetNodes": []}
    found = {asset: Made(0, {}, {}, 0) for asset in assets}
    for node in answer["assetNodes"]:
        first: dict[str | None, float] = {}
        last: dict[str | None, float] = {}
        # The newest comes first.
        for event in node["assetMaterializations"]:
            at = int(event["timestamp"]) / 1000
            last.setdefault(event["partition"], at)
            first[event["partition"]] = at
        stats = node["partitionStats"]
        # A user asset without partitions yet is made for nobody.
        partitions = stats["numPartitions"] or 1 if stats else 1
        found[node["assetKey"]["path"][-1]] = Made(partitions, first, last, len(node["assetMaterializations"]))
    return found


def unfinished_of_users(ui: Ui) -> bool:
    """Tell whether a run other than those of the enrichment goes on."""
    answer = ui.ask(
        """{ runsOrError(filter: {statuses: [QUEUED, NOT_STARTED, STARTING, STARTED]}) {
        ... on Runs { results { jobName } } } }""",
    )
    if answer is None:
        return True
    return any(not run["jobName"].startswith("enrich_") for run in answer["runsOrError"]["results"])


if __name__ == "__main__":
    sys.exit(main())
