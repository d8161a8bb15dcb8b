"""Print the lines of code of each room: ``make size``.

Docstrings, comments and blank lines don't count, so that nobody is tempted to save on them. No figure here is a goal:
it shows a reviewer what a change costs the next reader, and where.
"""

from __future__ import annotations

import ast
import io
import subprocess
import sys
import tokenize
from collections import Counter
from pathlib import Path

PACKAGE = "aperture_dagster"
LAYOUT = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER}


def lines_of_code(source: str) -> int:
    """Return how many lines of a module hold code.

    Raises:
        SyntaxError: ``source`` is not Python.
    """
    docstrings: set[int] = set()
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Module(body=[ast.Expr(ast.Constant(str())) as text, *_]):
                pass
            case ast.ClassDef(body=[ast.Expr(ast.Constant(str())) as text, *_]):
                pass
            case ast.FunctionDef(body=[ast.Expr(ast.Constant(str())) as text, *_]):
                pass
            case ast.AsyncFunctionDef(body=[ast.Expr(ast.Constant(str())) as text, *_]):
                pass
            case _:
                continue
        docstrings.update(range(text.lineno, (text.end_lineno or text.lineno) + 1))
    lines: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type not in LAYOUT:
            lines.update(range(token.start[0], token.end[0] + 1))
    return len(lines - docstrings)


def room_of(path: Path) -> str:
    """Return the room of a file of the package, or else the folder at the top."""
    if path.parts[0] != PACKAGE:
        return path.parts[0]
    return path.parts[1] if len(path.parts) > 2 else path.name


def main() -> None:
    """Print the lines of each room of the package, and of the folders beside it."""
    project = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parents[1]
    listed = subprocess.run(["git", "ls-files", "*.py"], cwd=project, capture_output=True, text=True, check=True)
    rooms: dict[bool, Counter[str]] = {True: Counter(), False: Counter()}
    for path in map(Path, listed.stdout.splitlines()):
        # A file that was removed, but not yet committed, is still listed.
        if (project / path).is_file():
            lines = lines_of_code((project / path).read_text(encoding="utf-8"))
            rooms[path.parts[0] == PACKAGE][room_of(path)] += lines
    for room, lines in rooms[True].most_common():
        print(f"{lines:>7,}  {room}")
    print(f"{rooms[True].total():>7,}  {PACKAGE}\n")
    for folder, lines in rooms[False].most_common():
        print(f"{lines:>7,}  {folder}")


if __name__ == "__main__":
    main()
