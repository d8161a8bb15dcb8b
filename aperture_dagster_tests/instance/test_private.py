"""What this program uses of Dagster beyond its public API is in one module, and is there in this release of Dagster."""

from __future__ import annotations

import ast
import functools
import importlib
import inspect
import re
import textwrap
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest
from dagster_postgres import PostgresEventLogStorage, PostgresRunStorage, PostgresScheduleStorage

import aperture_dagster
from aperture_dagster.instance import private
from aperture_dagster_tests.conftest import PROJECT
from aperture_dagster_tests.test_structure import tree

PACKAGE = Path(aperture_dagster.__file__).parent
PRIVATE = PACKAGE / "instance" / "private.py"
STORAGES = (PostgresRunStorage, PostgresEventLogStorage, PostgresScheduleStorage)
# What our subclasses override, or set, of Dagster's classes: public methods that no documentation names, and members
# with an underscore that private.py uses.
USED = {
    PostgresRunStorage: (
        "add_run", "handle_run_event", "add_daemon_heartbeat", "has_run_stats_index_cols", "has_backfill_id_column",
        "optimize_for_webserver", "dispose", "_init_db",
    ),
    PostgresEventLogStorage: (
        "store_event", "claim_concurrency_slot", "has_table", "_has_asset_key_col_on_connection", "_init_db",
    ),
    PostgresScheduleStorage: (
        "has_built_index", "has_secondary_index_table", "has_instigators_table", "all_instigator_state",
        "get_instigator_state", "get_ticks", "get_tick_summaries", "supports_auto_materialize_asset_evaluations",
        "_init_db",
    ),
    dg.ConfigurableResource: ("_with_updated_values",),
    dg.DefaultRunLauncher: ("launch_run", "check_run_worker_health", "register_instance"),
    private.LocalComputeLogManager: ("capture_logs", "get_captured_local_path", "complete_artifact_path"),
}  # fmt: skip


# To forget a person, all texts are taken apart in which Dagster may have stored their name.
TAKEN_APART = {PACKAGE / "maintenance" / "redaction.py"}


def modules() -> list[Path]:
    """Return the modules of the package but for the private one and the stand-ins, which do not import Dagster."""
    return [path for path in PACKAGE.rglob("*.py") if path != PRIVATE and "simulator" not in path.parts]


def private_imports(path: Path) -> list[tuple[str, str | None]]:
    """Return the modules of Dagster and its libraries that a file imports, and the names it takes from them."""
    imported: list[tuple[str, str | None]] = []
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            imported += [(alias.name, None) for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            imported += [(node.module, alias.name) for alias in node.names]
    return [(module, name) for module, name in imported if module.startswith("dagster") and "." in module]


@pytest.mark.parametrize(("module", "name"), private_imports(PRIVATE))
def test_a_private_name_is_where_it_is_looked_for(module: str, name: str | None):
    message = f"Dagster {dg.__version__} moved {module}{f'.{name}' if name else ''}: mend instance/private.py."
    try:
        imported = importlib.import_module(module)
    except ImportError:
        pytest.fail(message)
    assert name is None or hasattr(imported, name), message


@pytest.mark.parametrize("base", USED)
def test_what_is_overridden_exists(base: type):
    for name in USED[base]:
        assert hasattr(base, name), f"Dagster {dg.__version__} lost {base.__name__}.{name}."


@pytest.mark.parametrize(
    "name",
    ["cli", "configure_loggers", "create_app_from_workspace_process_context", "workspace_opts_to_load_target",
     "WorkspaceOpts", "WorkspaceProcessContext", "__version__"],
)  # fmt: skip
def test_what_the_front_door_takes_from_the_command_of_the_webserver_is_there(name: str):
    command = importlib.import_module("dagster_webserver.cli")
    assert hasattr(command, name), f"Dagster {dg.__version__} moved dagster_webserver.cli.{name}."


def test_what_is_replaced_and_set_exists():
    assert hasattr(private.loggers, "colored_console_logger"), f"Dagster {dg.__version__} lost its console logger."
    for storage in STORAGES:
        assert "_engine" in _set_by(storage), f"Dagster {dg.__version__}: {storage.__name__} has no _engine."


@pytest.mark.parametrize(
    ("module", "name"), [("dagster._core.scheduler", "DagsterDaemonScheduler"), ("dagster._daemon.cli", "main")]
)
def test_what_dagster_yaml_and_the_supervisor_name_is_there(module: str, name: str):
    assert hasattr(importlib.import_module(module), name), f"Dagster {dg.__version__} moved {module}."


def test_dagster_is_pinned_to_a_minor_version():
    assert '"dagster>=1.13.27,<1.14"' in (PROJECT / "pyproject.toml").read_text(encoding="utf-8")


def test_each_private_part_says_what_is_missing_and_what_it_costs_to_do_without():
    used_by_others = {
        node.name: " ".join((ast.get_docstring(node) or "").split())
        for node in tree(PRIVATE).body
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and not node.name.startswith("_")
    }
    # They belong to the function beside them.
    helpers = {"console_logger_config", "webserver_options"}
    unexplained = {
        name for name, text in used_by_others.items() if not ("Missing: " in text and "Without: " in text)
    } - helpers
    assert used_by_others and not unexplained


# Underscores: what Dagster's classes and modules keep to themselves.


def is_private(name: str) -> bool:
    # Of named tuples, these are public.
    return name.startswith("_") and not name.startswith("__") and name not in ("_replace", "_asdict", "_fields")


@functools.cache
def own_names(path: Path) -> set[str]:
    """Return the names with an underscore that a module itself defines: functions, variables, members of classes."""
    names: set[str] = set()
    for node in ast.walk(tree(path)):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            names.add(node.name)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store) and _is_self(node.value):
            names.add(node.attr)
    return names


def _is_self(node: ast.expr) -> bool:
    return isinstance(node, ast.Name) and node.id == "self"


def test_no_other_module_uses_a_member_with_an_underscore_that_is_not_its_own():
    wrong = [
        f"{path.relative_to(PACKAGE)}:{node.lineno} {ast.unparse(node)}"
        for path in modules()
        for node in ast.walk(tree(path))
        if isinstance(node, ast.Attribute)
        and is_private(node.attr)
        # Documented by SQLAlchemy and Python.
        and node.attr not in ("_mapping", "_exit")
        if node.attr not in own_names(path) and not _inherits(path, node.attr)
    ]
    assert not wrong, "\n".join(wrong)


def _inherits(path: Path, name: str) -> bool:
    """Tell whether a class of a module has a member with this name from a class that is not Dagster's."""
    return any(
        name in vars(base) or name in _set_by(base)
        for ours in classes(path)
        for base in ours.__mro__
        # Dagster's are looked for below.
        if not base.__module__.startswith("dagster")
    )


def test_no_class_overrides_or_sets_a_member_with_an_underscore_of_dagsters():
    wrong = {
        f"{ours.__qualname__}.{name} is one of {base.__module__}.{base.__qualname__}"
        for path in modules()
        for ours in classes(path)
        for base in ours.__mro__
        if base.__module__.partition(".")[0].startswith("dagster")
        for part in ours.__mro__
        if part.__module__.startswith("aperture_dagster.") and part.__module__ != private.__name__
        for name in members(part) & {*vars(base), *_set_by(base)}
        # Dagster's own decorators leave marks in every class.
        if is_private(name) and name not in ("_abc_impl",)
    }
    assert not wrong, "\n".join(sorted(wrong))


def classes(path: Path) -> Iterator[type]:
    """Yield the classes that a module defines and that inherit from anything but ``object``."""
    if not re.search(r"^\s*class \w+\(.+\):", path.read_text(encoding="utf-8"), re.MULTILINE):
        return
    if path.name == "__main__.py":
        return
    name = ".".join(path.relative_to(PROJECT).with_suffix("").parts).removesuffix(".__init__")
    module = importlib.import_module(name)
    yield from (value for value in vars(module).values() if inspect.isclass(value) and value.__module__ == name)


def _members(owner: type) -> list[ast.Attribute]:
    try:
        source = textwrap.dedent(inspect.getsource(owner))
    except (OSError, TypeError):
        return []
    return [
        node
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Attribute) and ast.unparse(node.value) in ("self", "super()")
    ]


@functools.cache
def _set_by(owner: type) -> set[str]:
    return {node.attr for node in _members(owner) if isinstance(node.ctx, ast.Store)}


@functools.cache
def members(owner: type) -> frozenset[str]:
    """Return what a class defines, sets or reads of itself."""
    return frozenset({*vars(owner), *(node.attr for node in _members(owner))})


# Hidden names in texts, and the form in which Dagster stores its records.


def texts(path: Path) -> Iterator[tuple[int, str]]:
    """Yield the texts of a module with their lines, without its docstrings."""
    module = tree(path)
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    docstrings = {id(node.body[0].value) for node in ast.walk(module) if isinstance(node, documented) and node.body
                  and isinstance(node.body[0], ast.Expr)}  # fmt: skip
    for node in ast.walk(module):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings:
            yield node.lineno, node.value


def test_no_other_module_names_hidden_tags_or_metadata_of_dagster():
    hidden = re.compile(r"\.dagster/|__(?!main__|init__|all__)[a-z_]+__\b")
    wrong = [
        f"{path.relative_to(PACKAGE)}:{line} {value!r}"
        for path in modules()
        for line, value in texts(path)
        if hidden.search(value) and path not in TAKEN_APART
    ]
    assert not wrong, "\n".join(wrong)


def test_no_statement_looks_into_the_records_that_dagster_stores_as_json():
    bodies = r"(?:run_body|instigator_body|job_body|tick_body|\bbody|evaluation_event|asset_evaluation_body)"
    looks = re.compile(rf"position\([^)]*{bodies}|{bodies}\S*\s*(?:LIKE|~|->|::json)|'\"\w+\": ", re.IGNORECASE)
    wrong = [
        f"{path.relative_to(PACKAGE)}:{line} {value!r}"
        for path in modules()
        for line, value in texts(path)
        if looks.search(value)
    ]
    assert not wrong, "\n".join(wrong)
