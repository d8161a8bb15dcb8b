"""A made-up next release of this program, whose schema has one more migration."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from aperture_dagster.cli import migrate as migrate_command
from aperture_dagster.cli import restore as restore_command
from aperture_dagster.postgres import database, migrate, restore

REVISION = f"v{int(migrate.HEAD_REVISION[1:]) + 1}"
SCRIPT = f"{REVISION}_made_up.py"
NEW_TABLE = "CREATE TABLE made_up"
MIGRATION = f'''"""Made up."""

from alembic import op

revision, down_revision, branch_labels, depends_on = "{REVISION}", "{migrate.HEAD_REVISION}", None, None


def upgrade() -> None:
    op.execute("{NEW_TABLE} (user_id TEXT REFERENCES users)")
'''


@contextmanager
def next_release(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Be the next release during the block; yields the revision of its schema."""
    scripts = folder / "migrations"
    shutil.copytree(migrate.MIGRATIONS, scripts)
    (scripts / "versions" / SCRIPT).write_text(MIGRATION)
    with monkeypatch.context() as patch:
        patch.setattr(migrate, "MIGRATIONS", scripts)
        for module in (migrate, database, restore, migrate_command, restore_command):
            patch.setattr(module, "HEAD_REVISION", REVISION)
        patch.setattr(migrate, "_up_to_date", set())
        yield REVISION
