"""The weights that components of the score have earned on this server, as the weekly evaluation leaves them."""

from __future__ import annotations

from collections.abc import Mapping

from sqlalchemy import Connection

from aperture_dagster.facts import read_fact, write_fact
from aperture_dagster.settings import Settings
from aperture_dagster.taste.crowd import crowd_version

FACT = "earned_weights"
EarnedWeights = Mapping[str, Mapping[str, float]]
"""By media type and component what its weight is multiplied with, where that is not 1."""


def read_earned(connection: Connection, settings: Settings) -> dict[str, dict[str, float]]:
    """Read the weights; those of the crowd only if its table is still the one that was measured."""
    stored = read_fact(connection, FACT)
    if stored is None:
        return {}
    is_same_crowd = stored["crowd"] == crowd_version(settings)
    return {
        media_type: {name: weight for name, weight in own.items() if name != "crowd" or is_same_crowd}
        for media_type, own in stored["weights"].items()
    }


def write_earned(connection: Connection, settings: Settings, weights: EarnedWeights) -> None:
    """Keep the weights, and which crowd they were measured with; equal ones are not written again."""
    given = {media_type: dict(own) for media_type, own in weights.items()}
    write_fact(connection, FACT, {"weights": given, "crowd": crowd_version(settings)})
