"""Worlds of many households that own some of the same films, and their stand-ins in one process of their own."""

from __future__ import annotations

import contextlib
import dataclasses
import multiprocessing
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from aperture_dagster.simulator.generated_world import generate_world
from aperture_dagster.simulator.server import running_simulator
from aperture_dagster.simulator.settings import SimulatorSettings
from aperture_dagster.simulator.world import World, WorldTitle

# With the free key's 1,000 requests a day, sharing would do more work, not the same.
SETTINGS = SimulatorSettings(omdb_daily_limit=1_000_000)


def world_of(number: int, *, films: int, users: int, overlap: float) -> World:
    """Return the world of a household: a share of its films is the same in all, the others are in no other world."""
    world = generate_world(
        movies=films, series=0, episodes=0, users=users, plays=30 * users, seed=1, now=datetime.now(UTC)
    )
    common = round(films * overlap)
    titles = [_own(title, number) if place >= common else title for place, title in enumerate(world.titles)]
    return dataclasses.replace(world, name=f"household {number}", titles=titles)


def _own(title: WorldTitle, number: int) -> WorldTitle:
    """Return a film like another one, under ids of its own."""
    shift = (number + 1) * 1_000_000
    return dataclasses.replace(
        title,
        title=f"{title.title} {number}",
        overview=f"{title.overview} {number}",
        tmdb_id=title.tmdb_id + shift if title.tmdb_id else None,
        imdb_id=f"tt{int(title.imdb_id[2:]) + shift * 10:08}" if title.imdb_id else None,
        tvdb_id=title.tvdb_id + shift if title.tvdb_id else None,
    )


class StandIns:
    """The stand-ins of all households: their addresses, and what they were asked."""

    def __init__(self, pipe: Any, urls: list[str]) -> None:
        self._pipe, self.urls = pipe, urls

    def requests(self) -> list[dict[str, int]]:
        """Return how many requests each household has sent to each service so far."""
        self._pipe.send("requests")
        return self._pipe.recv()


@contextlib.contextmanager
def stand_ins(households: int, *, films: int, users: int, overlap: float) -> Iterator[StandIns]:
    """Serve the worlds of so many households until the block ends."""
    ours, theirs = multiprocessing.Pipe()
    context = multiprocessing.get_context("spawn")
    process = context.Process(target=_serve, args=(theirs, households, films, users, overlap), daemon=True)
    process.start()
    try:
        yield StandIns(ours, ours.recv())
    finally:
        ours.send("end")
        process.join(60)


def _serve(pipe: Any, households: int, films: int, users: int, overlap: float) -> None:
    with contextlib.ExitStack() as stack:
        worlds = [world_of(number, films=films, users=users, overlap=overlap) for number in range(households)]
        served = [stack.enter_context(running_simulator(world, SETTINGS)) for world in worlds]
        pipe.send([one.url for one in served])
        while pipe.recv() != "end":
            counts = [one.state.counters.requests for one in served]
            pipe.send([{service: sum(asked.values()) for service, asked in count.items()} for count in counts])
