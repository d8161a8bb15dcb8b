"""Less work in Dagster for each run in a test, with the same results.

Nothing here is used by the processes that tests start.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest


@contextmanager
def frugal_dagster() -> Iterator[None]:
    """Patch Dagster until the block ends."""
    with pytest.MonkeyPatch.context() as patch:
        _read_revisions_once(patch)
        _describe_resources_once(patch)
        yield


def _read_revisions_once(patch: pytest.MonkeyPatch) -> None:
    """Read Dagster's 90 revisions once, instead of twice for every instance, which stamps its empty tables."""
    from alembic.config import Config
    from alembic.script import ScriptDirectory

    read, known = ScriptDirectory.from_config, {}

    def from_config(config: Config) -> ScriptDirectory:
        location = config.get_main_option("script_location")
        if location not in known:
            known[location] = read(config)
        return known[location]

    patch.setattr(ScriptDirectory, "from_config", from_config)


def _describe_resources_once(patch: pytest.MonkeyPatch) -> None:
    """Infer the schema of a resource's class once, and give it defaults only where it is used.

    A run makes three copies of each resource. Each copy would infer the schema and validate its values against it, and
    nothing would use the result.
    """
    from dagster._config.pythonic_config import resource

    infer, curry = resource.infer_schema_from_config_class, resource._curry_config_schema

    @functools.cache
    def infer_once(kind: type, omitted: frozenset[str]) -> Any:
        return infer(kind, fields_to_omit=set(omitted))

    def inferred(kind: type, fields_to_omit: set[str]) -> Any:
        return infer_once(kind, frozenset(fields_to_omit))

    def config_schema(self: Any) -> Any:
        schema = self._state__internal__.config_schema
        return schema() if isinstance(schema, functools.partial) else schema

    patch.setattr(resource, "infer_schema_from_config_class", inferred)
    patch.setattr(resource, "_curry_config_schema", lambda field, data: functools.partial(curry, field, data))
    patch.setattr(resource.ConfigurableResourceFactory, "_config_schema", property(config_schema))
