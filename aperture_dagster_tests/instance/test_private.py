"""What this program uses of Dagster beyond its public API is there, or one sentence says what a new release lacks."""

from __future__ import annotations

import ast
import importlib
from pathlib import Path

import dagster as dg
import pytest
from dagster_postgres import PostgresEventLogStorage, PostgresRunStorage, PostgresScheduleStorage

import aperture_dagster
from aperture_dagster.instance import private
from aperture_dagster_tests.conftest import PROJECT

PACKAGE = Path(aperture_dagster.__file__).parent
PRIVATE = PACKAGE / "instance" / "private.py"
OVERRIDDEN = {
    PostgresRunStorage: (
        "add_run", "handle_run_event", "add_daemon_heartbeat", "has_run_stats_index_cols", "has_backfill_id_column",
    ),
    PostgresEventLogStorage: ("store_event", "has_table", "_has_asset_key_col_on_connection"),
    PostgresScheduleStorage: (
        "has_built_index", "has_secondary_index_table", "_has_instigators_table",
        "_has_asset_daemon_asset_evaluations_table", "_deserialize_rows", "_ticks_query",
    ),
    dg.ConfigurableResource: ("_with_updated_values",),
    dg.DefaultRunLauncher: ("launch_run", "check_run_worker_health"),
}  # fmt: skip


def imports(path: Path) -> list[tuple[str, str | None]]:
    """Return the modules of Dagster and its libraries that a file imports, and the names it takes from them."""
    found: list[tuple[str, str | None]] = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found += [(one.name, None) for one in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            found += [(node.module, one.name) for one in node.names]
    return [(module, name) for module, name in found if module.startswith("dagster") and "." in module]


@pytest.mark.parametrize(("module", "name"), imports(PRIVATE))
def test_a_private_name_is_where_it_is_looked_for(module: str, name: str | None):
    says = f"Dagster {dg.__version__} moved {module}{f'.{name}' if name else ''}: mend instance/private.py."
    try:
        found = importlib.import_module(module)
    except ImportError:
        pytest.fail(says)
    assert name is None or hasattr(found, name), says


def test_what_is_replaced_exists():
    for module, name in ((private.loggers, "colored_console_logger"), (private.compute_logs, "mirror_stream_to_file")):
        assert hasattr(module, name), f"Dagster {dg.__version__} lost {module.__name__}.{name}, which is replaced."


@pytest.mark.parametrize("base", OVERRIDDEN)
def test_what_is_overridden_exists(base: type):
    for name in OVERRIDDEN[base]:
        assert hasattr(base, name), f"Dagster {dg.__version__} lost {base.__name__}.{name}, which is overridden."


@pytest.mark.parametrize(
    ("module", "name"), [("dagster._core.scheduler", "DagsterDaemonScheduler"), ("dagster._daemon.cli", "main")]
)
def test_what_dagster_yaml_and_the_supervisor_name_is_there(module: str, name: str):
    assert hasattr(importlib.import_module(module), name), f"Dagster {dg.__version__} moved {module}."


def test_dagster_is_pinned_to_a_minor_version():
    assert '"dagster>=1.13.27,<1.14"' in (PROJECT / "pyproject.toml").read_text(encoding="utf-8")
