"""A table belongs to the room that declares it: others read it along the arrows of the picture, and do not write it.

Imports between rooms are a matter of ``test_structure.py``. This is about the names of tables in SQL, which no import
shows.
"""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass

from aperture_dagster.schema import VIEWS, metadata
from aperture_dagster_tests.test_structure import (
    imports_between_rooms,
    leads_to,
    module_files,
    picture,
    room_of,
    tree,
)

_NAMED = r"(?:ONLY\s+)?(\w+(?:\s+(?:AS\s+)?\w+)?(?:\s*,\s*\w+(?:\s+\w+)?)*)"
_READ = re.compile(rf"\b(?<!DELETE )(?:FROM|JOIN|USING)\s+{_NAMED}")
_WRITTEN = re.compile(r"\b(?:INSERT\s+INTO|UPDATE|DELETE\s+FROM|TRUNCATE)\s+(?:ONLY\s+)?(\w+)")
READERS = {"content_version", "content_versions", "change_version"}
"""Functions that are given names of tables."""
WRITERS = {"upsert", "upsert_values", "merge"}
"""Functions that write a table which they are given after the connection."""


@dataclass(frozen=True, order=True)
class Use:
    """What a line of a module does with a table."""

    module: str
    what: str
    table: str
    line: int


def owners() -> dict[str, str]:
    """Return the room that declares each table."""
    found: dict[str, str] = {}
    for module, path in module_files().items():
        for node in ast.walk(tree(path)):
            match node:
                case ast.Call(
                    func=ast.Name("Table") | ast.Attribute(attr="Table"), args=[ast.Constant(str(name)), ast.Name(), *_]
                ):
                    found[name] = room_of(module)
    return {name: room for name, room in found.items() if room != "simulator"}


def texts(node: ast.AST) -> Iterator[tuple[str, int]]:
    """Yield the texts of a module with their lines; what is filled in later is a blank."""
    if isinstance(node, ast.JoinedStr):
        parts = (part.value if isinstance(part, ast.Constant) else " " for part in node.values)
        yield "".join(map(str, parts)), node.lineno
    elif isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.value, node.lineno
    for child in ast.iter_child_nodes(node):
        if not isinstance(node, ast.JoinedStr) or isinstance(child, ast.FormattedValue):
            yield from texts(child)


def uses_in(text: str) -> Iterator[tuple[str, str]]:
    """Yield what SQL does with each table or view that it names."""
    for name in _WRITTEN.findall(text):
        yield "writes", name
    for listed in _READ.findall(text):
        yield from (("reads", one.split()[0]) for one in listed.split(","))


def uses_of(module: str) -> Iterator[Use]:
    """Yield every use of a table in a module."""
    parsed = tree(module_files()[module])
    for text, line in texts(parsed):
        yield from (Use(module, what, name, line) for what, name in uses_in(text))
    for node in ast.walk(parsed):
        match node:
            case ast.Call(func=ast.Name(name), args=[_, ast.Name(table), *_]) if name in WRITERS:
                yield Use(module, "writes", table, node.lineno)
            case ast.Call(func=ast.Attribute(ast.Name(table), "insert" | "update" | "delete"), args=[]):
                yield Use(module, "writes", table, node.lineno)
            case ast.Call(func=ast.Name(name), args=[_, *given]) if name in READERS:
                names = (one.value for one in given if isinstance(one, ast.Constant))
                yield from (Use(module, "reads", str(one), node.lineno) for one in names)
            case ast.Tuple(elements) | ast.Set(elements) | ast.List(elements) if len(elements) > 1:
                names = [one.value for one in elements if isinstance(one, ast.Constant)]
                if set(names) <= set(metadata.tables) and len(names) == len(elements):
                    yield from (Use(module, "lists", str(one), node.lineno) for one in names)


def trespasses() -> dict[str, list[Use]]:
    """Return each use of a table by a room that may not, by module and table."""
    floors, arrows = picture()
    owner, found = owners(), defaultdict(list)
    for module in module_files():
        room = room_of(module)
        # A migration is a record of what was done, whoever the tables belong to now.
        if room in ("simulator", "") or ".migrations." in module:
            continue
        for use in uses_of(module):
            of = owner.get(use.table)
            if of is None or of == room:
                continue
            if use.what == "writes" or not (floors[of] > floors[room] or of in leads_to(arrows, room)):
                found[f"{use.module.removeprefix('aperture_dagster.')} {use.what} {use.table}"].append(use)
    return found


def test_every_table_has_a_room():
    assert set(owners()) == set(metadata.tables)
    assert not set(VIEWS) & set(metadata.tables)


def test_a_room_writes_its_own_tables_and_reads_those_of_rooms_below():
    found = {name: [use.line for use in uses] for name, uses in trespasses().items()}
    assert not found, "\n".join(f"{name}, lines {lines}" for name, lines in sorted(found.items()))


def test_every_arrow_of_the_picture_is_an_import_or_a_table_that_is_read():
    _, arrows = picture()
    owner = owners()
    there = {(room, other) for room, other, _ in imports_between_rooms()}
    there |= {(room_of(module), owner.get(use.table, "")) for module in module_files() for use in uses_of(module)}
    drawn = {(room, other) for room, others in arrows.items() for other in others}
    assert drawn <= there, sorted(drawn - there)


def test_uses_of_tables_are_found_in_sql():
    text = "WITH a AS (SELECT 1 FROM titles t, works w JOIN ONLY users USING (x)) INSERT INTO plays SELECT * FROM a"
    assert set(uses_in(text)) >= {("reads", one) for one in ("titles", "works", "users")} | {("writes", "plays")}
    assert set(uses_in("DELETE FROM plays p USING titles t")) == {("writes", "plays"), ("reads", "titles")}
