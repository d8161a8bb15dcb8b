"""Measure how well discovery finds what people liked later, and what it costs, with the product on real histories.

    python benchmarks/discovery.py [--data ../shared/data]

The library holds 70 % of the films. TMDb's stand-in knows all of them, and recommends what users 1-200 liked together.
Users 201-300 are the household; the last 20 % of their ratings by time have not happened yet, and there is no crowd.
Relevant is what they rate at least 4 of 5 then and the library does not have. The real jobs run on a home of their own,
over HTTP and with its database; recall@50 of the films suggested is compared with that of the films with the most votes
on TMDb (a) outside the library and (b) among those also released by the user's last known activity, with the
suggestions restricted alike. Neither side knows which films outside the library a user has seen before.

Then it prints what one run costs for 1, 50 and all users, in requests and seconds.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np
from verdict import Verdict, not_applicable

from aperture_dagster.partitions import USERS
from aperture_dagster.postgres.embedded import release_embedded_server
from aperture_dagster.settings import load_settings
from aperture_dagster.simulator.folder_world import later_plays, load_folder_world
from aperture_dagster.simulator.server import RunningSimulator, running_simulator
from aperture_dagster.simulator.settings import SimulatorSettings
from aperture_dagster.simulator.world import World
from aperture_dagster.taste.movielens import read_films, read_ratings
from aperture_dagster.taste.ranking.evaluation import recall_at

PROJECT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(PROJECT))

from aperture_dagster_tests.household import Household, SetClock, metadata_of  # noqa: E402

DATA = PROJECT.parent / "shared" / "data"
NOW = datetime(2026, 5, 17, 12, tzinfo=UTC)
OWNED, PLAYED = 0.7, 0.8
ASKED, OTHERS = range(201, 301), range(1, 201)
LIKED = 8.0
LISTED, LONGEST = 50, 500
JOB = "generate_discovery_suggestions"
BEFORE = ("sync_users", "sync_movies", "sync_watch_history", "enrich_metadata", "generate_embeddings")
LIMITS = {"most voted": 1.5, "most voted, released": 1.15, "requests": 3.0}

Lists = Mapping[str, Sequence[str]]
"""Keys of films by user, best first."""


@dataclass(frozen=True, eq=False)
class Question:
    """What is to be found, and what both sides may suggest."""

    votes: dict[str, float]
    """Of the films outside the library by key, most voted first."""
    released: dict[str, date]
    """When these films came out; the end of their year where only that is known."""
    relevant: dict[str, set[str]]
    last: dict[str, date]
    """Day of each user's last known activity."""

    def most_voted(self, user: str, *, released: bool) -> list[str]:
        """Return the baseline's list of a user."""
        return self.restricted(list(self.votes), user, released=released)

    def restricted(self, keys: Sequence[str], user: str, *, released: bool) -> list[str]:
        """Return the first 50 of a list, without films from after a user's last activity."""
        return [key for key in keys if not (released and self.released[key] > self.last[user])][:LISTED]

    def recall(self, lists: Lists) -> float:
        """Return the mean recall@50 of all users who have something to find."""
        return float(np.mean([recall_at(lists.get(user, []), self.relevant[user], LISTED) for user in self.relevant]))


def ask(data: Path, world: World) -> Question:
    """Read from the data what the users like later, and what is known of the films."""
    outside = [title for title in world.titles if not title.copies]
    votes = {title.key: float(title.vote_count or 0) for title in outside}
    released = {
        title.key: date.fromisoformat(title.release_date) if title.release_date else date(title.year or 9999, 12, 31)
        for title in outside
    }
    relevant: dict[str, set[str]] = {}
    later: set[tuple[str, str]] = set()
    for play in later_plays(data, users=ASKED, now=NOW, played=PLAYED):
        later.add((play.user, play.title_key))
        if play.title_key in votes and play.rating is not None and play.rating >= LIKED:
            relevant.setdefault(play.user, set()).add(play.title_key)
    last: dict[str, date] = {}
    histories = read_ratings(data, read_films(data)["work_id"].to_numpy()).histories
    histories = histories[histories["user_id"].isin(ASKED)]
    for number, work_id, moment in zip(
        histories["user_id"], histories["work_id"], histories["last_played_at"], strict=True
    ):
        user, key = str(number), f"movie:{work_id}"
        if (user, key) not in later:
            last[user] = max(last.get(user, date.min), moment.date())
    return Question(
        votes=dict(sorted(votes.items(), key=lambda one: -one[1])),
        released=released,
        relevant=relevant,
        last=last,
    )


# The product


class Home:
    """A home whose jobs run here."""

    def __init__(
        self, world: World, simulator: RunningSimulator, instance: dg.DagsterInstance, settings: dict[str, Any]
    ) -> None:
        self.world, self.simulator, self.clock = world, simulator, SetClock(NOW)
        self._instance, self._settings = instance, settings
        self.home = self._with()

    def _with(self, **changes: Any) -> Household:
        return Household(load_settings(**self._settings | changes), self._instance, clock=self.clock)

    def fill(self) -> None:
        """Read the media server and TMDb, embed the titles, and learn the tastes."""
        for job in BEFORE:
            self.home.must(job, users=self.home.everyone() if job == "sync_watch_history" else None)
        self.home.must("generate_recommendations", users=self.home.everyone(), assets=["taste_profiles"])

    def forget(self) -> None:
        """Empty the pool and all that came of it, and let a day pass."""
        for table in ("discovery_candidates", "discovery_vectors", "discovery_lists", "discovery_pool"):
            self.home.rows(f"DELETE FROM {table} RETURNING 1")
        self.home.rows("DELETE FROM fetches WHERE source = 'tmdb_discovery' RETURNING 1")
        self.clock.moment += timedelta(days=1)

    def discover(self, users: Sequence[str], *assets: str, **settings: Any) -> dict[str, Any]:
        """Run the job for a household of these partitions; return its figures."""
        asked, started = self.simulator.state.requests("tmdb"), time.monotonic()
        for key in set(self.home.everyone()) - set(users):
            self._instance.delete_dynamic_partition(USERS, key)
        self._instance.add_dynamic_partitions(USERS, list(users))
        result = self._with(**settings).must(JOB, users=list(users), assets=assets)
        figures = {"requests": self.simulator.state.requests("tmdb") - asked, "seconds": time.monotonic() - started}
        return figures if assets else metadata_of(result, "discovery_pool") | figures

    def lists(self) -> dict[str, list[str]]:
        """Return the stored suggestions by user, best first, as keys of films."""
        keys = {title.tmdb_id: title.key for title in self.world.titles if title.tmdb_id is not None}
        found: dict[str, list[str]] = {}
        for row in self.home.rows(
            "SELECT u.name, p.tmdb_id FROM discovery_candidates c JOIN users u USING (user_id) "
            "JOIN discovery_pool p USING (work_id) ORDER BY u.name, c.media_type, c.rank"
        ):
            found.setdefault(row["name"], []).append(keys[row["tmdb_id"]])
        return found


@contextlib.contextmanager
def furnished(world: World) -> Iterator[Home]:
    """Open the stand-ins and an empty home that uses them."""
    stand_ins = SimulatorSettings()
    with (
        tempfile.TemporaryDirectory(prefix="aperture-discovery-", ignore_cleanup_errors=True) as folder,
        running_simulator(world, stand_ins) as simulator,
        dg.DagsterInstance.ephemeral() as instance,
    ):
        settings = {
            "home": f"{folder}/home",
            "timezone": "UTC",
            "media_server_url": simulator.jellyfin_url,
            "media_server_api_key": stand_ins.jellyfin_key,
            "tmdb_url": simulator.tmdb_url,
            "tmdb_api_key": stand_ins.tmdb_key,
            "tmdb_requests": 9000,
        }
        try:
            yield Home(world, simulator, instance, settings)
        finally:
            release_embedded_server(Path(folder) / "home" / "postgres")


# Results


def compare(name: str, question: Question, lists: Lists, *, released: bool, limit: float, verdict: Verdict) -> None:
    """Print recall@50 of both sides, and judge their ratio."""
    found = {user: question.restricted(lists.get(user, []), user, released=released) for user in question.relevant}
    usual = {user: question.most_voted(user, released=released) for user in question.relevant}
    recall, baseline = question.recall(found), question.recall(usual)
    print(f"recall@50 {name}: {recall:.4f}, most voted {baseline:.4f}", flush=True)
    verdict.least(f"recall@50 {name}, ratio to the most voted", recall / baseline, limit, "x")


def quality(home: Home, question: Question, users: Sequence[str], verdict: Verdict) -> None:
    """Run for everybody, and compare the lists."""
    short = home.lists()
    home.discover(users, "discovery_candidates", discovery_per_list=LONGEST)
    long = home.lists()
    found = sum(len(keys) for keys in question.relevant.values())
    print(
        f"{len(question.relevant)} of {len(users)} users like {found} films outside the library later; "
        f"{len(question.votes):,} films are outside, lists have {min(map(len, short.values()))} films or more"
    )
    compare("outside the library", question, short, released=False, limit=LIMITS["most voted"], verdict=verdict)
    compare("released", question, long, released=True, limit=LIMITS["most voted, released"], verdict=verdict)


def costs(home: Home, users: Sequence[str], verdict: Verdict) -> None:
    """Fill an empty pool for 1, 50 and all users: 50 must cost little more than one, and a second run nothing."""
    figures: dict[int, dict[str, Any]] = {}
    print(f"\n{'users':>5} {'requests':>9} {'lists':>6} {'details':>8} {'films':>6} {'s':>6}")
    for count in (1, 50, len(users)):
        home.forget()
        one = figures[count] = home.discover(users[:count])
        print(
            f"{count:5} {one['requests']:9,} {one['lists_requested']:6,} {one['details_requested']:8,} "
            f"{one['films']:6,} {one['seconds']:6.1f}",
            flush=True,
        )
    ratio = figures[50]["requests"] / figures[1]["requests"]
    verdict.most("requests of 50 users, ratio to one", ratio, LIMITS["requests"])
    verdict.most("requests again on the same day", home.discover(users)["requests"], 0)


def main() -> int:
    """Run the benchmark, print its figures, and return 0 if all limits are kept."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=DATA, help="folder with movies.jsonl.gz and ratings.csv.gz")
    options = parser.parse_args()
    # Hide Dagster's log, which has a line for every event of every run.
    with contextlib.redirect_stderr(io.StringIO()):
        if not (options.data / "ratings.csv.gz").exists():
            not_applicable(f"there is no data in {options.data}")
        started = time.monotonic()
        world = load_folder_world(options.data, users=ASKED, now=NOW, owned=OWNED, played=PLAYED, neighbours_of=OTHERS)
        question = ask(options.data, world)
        with furnished(world) as home:
            home.fill()
            print(f"the library is known after {time.monotonic() - started:.0f} s", flush=True)
            users = [
                row["partition_key"] for row in home.home.rows("SELECT partition_key FROM present_users ORDER BY 1")
            ]
            verdict = Verdict()
            costs(home, users, verdict)
            quality(home, question, users, verdict)
        print(f"\n{time.monotonic() - started:.0f} s")
    return verdict.close()


if __name__ == "__main__":
    sys.exit(main())
