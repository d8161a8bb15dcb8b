"""What each model that could be configured needs, and what a change to it means for this library."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Literal

from sqlalchemy import Connection

from aperture_dagster.prices.costs import IN_PROCESS, ModelCost, Usage, read_costs
from aperture_dagster.prices.endpoint import configured_provider
from aperture_dagster.prices.price_list import LOCAL
from aperture_dagster.prices.stored import embedding_paces
from aperture_dagster.settings import Settings
from aperture_dagster.taste.embedder import FASTEMBED_MODEL, STATIC_MODEL
from aperture_dagster.taste.vectors import active_model

Need = Literal["nothing", "package", "key", "key is set", "perhaps a key"]
FASTEMBED_MEGABYTES = 67
"""Download of the default model, as fastembed's list of models has it."""
STATIC_MEMORY, FASTEMBED_MEMORY = 20, 120
"""Megabytes in the process that embeds; for fastembed a lower bound, the library and the file of the model."""
STATIC_PACE = 3000.0
"""Texts per second on two shared cores: docs/performance.md."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What choices depend on beside their prices.

    Attributes:
        texts: of the library.
        in_use: key of the vectors in use; None if there are none.
        paces: texts per second that were measured here, by key of the vectors.
        provider: of the configured endpoint; None if no endpoint is configured, or its host is not known.
        has_key: whether a key of the configured endpoint is set.
        has_fastembed: whether its package is installed.
    """

    texts: int
    in_use: str | None
    paces: Mapping[str, float]
    provider: str | None
    has_key: bool
    has_fastembed: bool


@dataclass(frozen=True, slots=True)
class Choice:
    """A model with what it needs and what a change to it means.

    Attributes:
        cost: its name, provider and price.
        need: what must be entered or installed before it can be used.
        download: megabytes that are downloaded once; None: unknown, or the business of a server at home.
        memory: megabytes on this machine; None: unknown.
        memory_is_least: whether that is a lower bound.
        vectors: how many are made anew.
        seconds: how long that takes; None: unknown.
        is_measured: whether that follows from a rate measured here, rather than from a documented one.
        leaves_home: whether the texts of titles are sent to somebody else.
    """

    cost: ModelCost
    need: Need
    download: int | None
    memory: int | None
    memory_is_least: bool
    vectors: int
    seconds: float | None
    is_measured: bool
    leaves_home: bool


def choices(costs: Iterable[ModelCost], facts: Facts) -> list[Choice]:
    """Return what each model needs, and what a change to it means, in the order of the costs."""
    return [_choice(cost, facts) for cost in costs]


def read_choices(connection: Connection, settings: Settings, usage: Usage) -> list[Choice]:
    """Return what each model that can be configured costs and needs: the configured one first."""
    facts = Facts(
        usage.texts,
        active_model(connection),
        embedding_paces(connection),
        configured_provider(settings) if settings.embedder == "openai" else None,
        settings.embedder_api_key is not None,
        find_spec("fastembed") is not None,
    )
    return choices(read_costs(connection, settings, usage), facts)


def _choice(cost: ModelCost, facts: Facts) -> Choice:
    is_here, is_static = cost.provider == IN_PROCESS, cost.provider == IN_PROCESS and cost.model == "static"
    keys = _keys_of(cost)
    vectors = 0 if facts.in_use is not None and keys.fullmatch(facts.in_use) else facts.texts
    # The same model answers at another pace elsewhere.
    measured = [pace for key, pace in facts.paces.items() if keys.fullmatch(key)]
    pace = measured[0] if measured and (is_here or cost.provider == facts.provider) else None
    known = pace if pace is not None else STATIC_PACE if is_static else None
    return Choice(
        cost,
        _need(cost, facts),
        _download(cost),
        (STATIC_MEMORY if is_static else FASTEMBED_MEMORY) if is_here else 0,
        is_here and not is_static,
        vectors,
        vectors / known if known is not None else None,
        pace is not None,
        not is_here and cost.provider != LOCAL,
    )


def _keys_of(cost: ModelCost) -> re.Pattern[str]:
    """Return a pattern of the keys under which vectors of a model are stored, whatever their length and recipe."""
    name = f"openai-{cost.model}"
    if cost.provider == IN_PROCESS:
        name = STATIC_MODEL if cost.model == "static" else f"fastembed-{cost.model}"
    return re.compile(rf"{re.escape(name)}-\d+-recipe\w+")


def _need(cost: ModelCost, facts: Facts) -> Need:
    if cost.provider == IN_PROCESS:
        return "nothing" if cost.model == "static" or facts.has_fastembed else "package"
    if facts.has_key and (cost.provider == facts.provider or cost.is_configured):
        return "key is set"
    return "perhaps a key" if cost.provider == LOCAL else "key"


def _download(cost: ModelCost) -> int | None:
    if cost.provider == IN_PROCESS and cost.model != "static":
        return FASTEMBED_MEGABYTES if cost.model == FASTEMBED_MODEL else None
    return None if cost.provider == LOCAL else 0
