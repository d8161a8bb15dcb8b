"""Migrations of the product's database, as SQL that does not change with the table definitions."""

from pathlib import Path

_NAMES = (path.stem for path in (Path(__file__).parent / "versions").glob("v*_*.py"))
HEAD_REVISION = max((name.partition("_")[0] for name in _NAMES), key=lambda revision: int(revision[1:]))
"""The newest migration; a database at this revision needs no migration."""
