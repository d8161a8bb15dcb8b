"""A program that runs jobs from stdin, one JSON object per line, with the settings of its environment.

``{"job": name}`` runs a job for all users. ``settings`` overrides some settings, ``crash`` makes the embedder fail
half-way with an error that contains every secret, ``connect`` connects a user to Trakt with these tokens, and ``ticks``
evaluates the sensors afterwards. A line on stdout answers each object.
"""

from __future__ import annotations

import json
import sys
import traceback
from collections.abc import Sequence
from typing import Any

import dagster as dg

from aperture_dagster.catalogue.stored_users import read_users
from aperture_dagster.model import Clock
from aperture_dagster.postgres.database import Database
from aperture_dagster.settings import Settings, load_settings
from aperture_dagster.taste.configured_embedder import Embedders
from aperture_dagster.trakt.accounts import TraktAccounts
from aperture_dagster.trakt.records import parse_tokens
from aperture_dagster_tests.household import Household

ANSWER = "housekeeper: "
PER_USER = ("sync_watch_history", "generate_recommendations", "sync_trakt_ratings", "send_requests")


class Careless:
    """An embedder that fails like a careless library: its error contains all arguments."""

    name, dimensions, requests = "careless-8", 8, 0

    def __init__(self, settings: Settings) -> None:
        self._told = settings.secret_values()

    def embed(self, texts: Sequence[str]) -> Any:
        """Always raise RuntimeError, caused by another error with the same message."""
        try:
            raise ValueError(f"for {len(texts)} texts: {self._told!r}")
        except ValueError as error:
            raise RuntimeError(f"cannot be reached with {' and '.join(self._told)}") from error


def obey(order: dict[str, Any], instance: dg.DagsterInstance) -> dict[str, Any]:
    settings = load_settings(**order.get("settings", {}))
    parts = {"embedder": Embedders(settings, make=Careless)} if order.get("crash") else {}
    house = Household(settings, instance, **parts)
    answer: dict[str, Any] = {}
    if "connect" in order:
        database, clock = Database(settings), Clock()
        with database.transaction() as connection:
            user = read_users(connection)[0]
        TraktAccounts(settings, database, clock).connect(user.user_id, parse_tokens(order["connect"], clock.now()))
    if "job" in order:
        per_user = order["job"] in PER_USER
        result = house.run(order["job"], users=house.everyone() if per_user else None)
        answer["success"] = result.success
    if order.get("ticks"):
        answer["ticks"] = tick(house, settings)
    return answer


def tick(house: Household, settings: Settings) -> list[str]:
    """Evaluate every sensor once, as the daemon does; return those that failed, and write their errors to stderr."""
    repository = house.definitions.get_repository_def()
    clock = Clock()
    resources = {"database": house.database, "clock": clock, "trakt": TraktAccounts(settings, house.database, clock)}
    failed = []
    for sensor in repository.sensor_defs:
        try:
            if sensor.name != "automation_sensor":
                with dg.build_sensor_context(
                    house.instance, definitions=house.definitions, resources=resources
                ) as context:
                    sensor.evaluate_tick(context)
        except Exception:
            traceback.print_exc()
            failed.append(sensor.name)
    return failed


def main() -> None:
    with dg.DagsterInstance.get() as instance:
        for line in sys.stdin:
            print(f"\n{ANSWER}{json.dumps(obey(json.loads(line), instance))}", flush=True)
