"""Print how large the project is, beside the sizes it is meant to keep: ``make size``.

Lines are those of Python files as ``ruff format`` leaves them, blank lines, comments and docstrings included. Sizes
creep: whoever adds a feature sees here what it costs the next reader.
"""

from __future__ import annotations

import ast
import subprocess
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from aperture_dagster.settings import Settings

PROJECT = Path(__file__).parents[1]
PACKAGE = "aperture_dagster"
STAND_INS = "simulator"
MOST_PARAMETERS = 6


def python_files() -> list[Path]:
    """The tracked Python files, relative to the project."""
    listed = subprocess.run(["git", "ls-files", "*.py"], cwd=PROJECT, capture_output=True, text=True, check=True)
    return [path for name in listed.stdout.splitlines() if (PROJECT / (path := Path(name))).is_file()]


def part_of(path: Path) -> str:
    """The part of the project that a file counts towards."""
    if path.parts[0] == PACKAGE:
        return "stand-ins" if path.parts[1] == STAND_INS else "product"
    return {"aperture_dagster_tests": "tests", "benchmarks": "benchmarks"}.get(path.parts[0], "tools")


def parameters(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Number of parameters that callers pass; what Dagster passes to an asset by name does not count."""
    given = function.args
    named = [one.arg for one in given.posonlyargs + given.args if one.arg not in ("self", "cls")]
    declares = any("asset" in ast.unparse(decorator) for decorator in function.decorator_list)
    return len(named) + (0 if declares else len(given.kwonlyargs))


def long_signatures(files: list[Path]) -> Iterator[str]:
    """Functions of the package that take more parameters than anybody remembers."""
    for path in files:
        if path.parts[0] != PACKAGE:
            continue
        for node in ast.walk(ast.parse((PROJECT / path).read_text(encoding="utf-8"))):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and parameters(node) > MOST_PARAMETERS:
                yield f"{path}:{node.lineno} {node.name} ({parameters(node)})"


def main() -> None:
    """Print the sizes, then those of each room."""
    files = python_files()
    lines = {path: len((PROJECT / path).read_text(encoding="utf-8").splitlines()) for path in files}
    parts, rooms = Counter(), Counter()
    for path, count in lines.items():
        parts[part_of(path)] += count
        if path.parts[0] == PACKAGE:
            rooms[path.parts[1] if len(path.parts) > 2 else "(top)"] += count
    long = list(long_signatures(files))
    figures = [
        ("lines of the product, without stand-ins", parts["product"], 36_000),
        ("lines of the stand-ins", parts["stand-ins"], 14_000),
        ("lines of the tests and their helpers", parts["tests"], 52_000),
        ("lines of the benchmarks", parts["benchmarks"], 5_000),
        ("lines of defs/", rooms["defs"], 4_500),
        ("files of the package", sum(path.parts[0] == PACKAGE for path in files), 300),
        ("settings", len(Settings.model_fields), 90),
        (f"functions with more than {MOST_PARAMETERS} parameters", len(long), 0),
    ]
    for name, figure, limit in figures:
        print(f"{figure:>7,}  {name} (at most {limit:,}){'' if figure <= limit else ': above'}")
    print("\nLines by room:")
    for room, count in rooms.most_common():
        print(f"{count:>7,}  {room}")
    print("".join(f"\n{one}" for one in long))


if __name__ == "__main__":
    main()
