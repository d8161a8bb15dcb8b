"""What is fetched and stored is read somewhere: no column is filled for nobody."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
import sqlalchemy as sa

import aperture_dagster
from aperture_dagster.catalogue.tables import titles
from aperture_dagster.discovery.tables import discovery_pool
from aperture_dagster.enrichment.answers import SOURCE_TABLES
from aperture_dagster.enrichment.merge import SERVER, SERVER_GIVES, Gives
from aperture_dagster.enrichment.sources import SOURCES
from aperture_dagster.enrichment.tables import enriched_metadata
from aperture_dagster.taste.ranking.text import TEXT_COLUMNS

PRODUCT = Path(aperture_dagster.__file__).parent
# These declare, parse and store: what they name is not read by it.
WRITERS = re.compile(r".*/tables\.py|enrichment/(tmdb|omdb|mdblist)/.*|media_server/.*|simulator/.*|catalogue/sync/.*")
OWN = ("work_id", "updated_at")
PAGE = "title_page.py"
"""It reads rows of whole tables, by the names of their columns."""
GIVEN: dict[str, tuple[Gives, ...]] = {SERVER: SERVER_GIVES, **{source.name: source.gives for source in SOURCES}}


@cache
def readers() -> dict[str, list[str]]:
    """Return the texts of each module that does not write, by its path; those of a template joined."""
    found = {}
    for path in PRODUCT.rglob("*.py"):
        name = path.relative_to(PRODUCT).as_posix()
        if not WRITERS.fullmatch(name):
            found[name] = list(texts_of(ast.parse(path.read_text(encoding="utf-8"))))
    return found


def texts_of(module: ast.Module) -> Iterator[str]:
    docstrings = {
        id(node.body[0].value)
        for node in ast.walk(module)
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef))
        and node.body
        and isinstance(node.body[0], ast.Expr)
    }
    for node in ast.walk(module):
        if isinstance(node, ast.JoinedStr):
            parts = [str(part.value) if isinstance(part, ast.Constant) else " " for part in node.values]
            yield "".join(parts)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings:
            yield node.value


def is_read(table: sa.Table, column: str) -> bool:
    """Return whether a statement names a column of a table, or the page of a title does."""
    names = rf"(?:present_titles|work_copies|{table.name})" if table is titles else table.name
    for module, texts in readers().items():
        if module == PAGE and column in texts and table in (enriched_metadata, discovery_pool):
            return True
        statements = " ".join(texts)
        aliases = re.findall(rf"\b{names} (?:AS )?([a-z]\w*)\b", statements)
        qualified = "|".join({*aliases, table.name})
        # A part of a statement may be a text of its own, such as the list of its columns.
        if re.search(rf'\b(?:{qualified})\."?{column}\b', statements):
            return True
        if any(re.search(rf"\b{names}\b", text) and re.search(rf"\b{column}\b", text) for text in texts):
            return True
    return False


def unread(table: sa.Table, source: str = "") -> list[str]:
    given = {each.own or each.column for each in GIVEN.get(source, ())}
    if table is enriched_metadata:
        # The text that is embedded is made from these.
        given |= {*TEXT_COLUMNS}
    stored = [column.name for column in table.columns if not column.primary_key and column.name not in OWN]
    return [name for name in stored if name not in given and not is_read(table, name)]


@pytest.mark.parametrize("source", sorted(SOURCE_TABLES))
def test_what_a_source_answers_is_merged_or_read(source: str):
    assert unread(SOURCE_TABLES[source], source) == []


def test_what_is_merged_what_is_known_outside_the_library_and_what_the_server_says_is_read():
    assert unread(enriched_metadata) == unread(discovery_pool) == unread(titles, SERVER) == []


def test_a_column_that_nobody_reads_is_noticed():
    table = sa.Table(
        "tmdb_metadata", sa.MetaData(), sa.Column("work_id", sa.BigInteger), sa.Column("cinematographers", sa.Text),
        sa.Column("trait_ids", sa.Text),
    )  # fmt: skip
    assert unread(table, "tmdb") == ["cinematographers"]
