"""Titles are never deleted, may lose their server id, and have alternate versions; unread hashes go."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

TABLES = ("titles", "episodes")
COMMENTS = {
    "titles": "One row per film or series item on the media server; removed_at is its tombstone. Never deleted.",
    "episodes": "One row per episode item on the media server; removed_at is its tombstone. Never deleted.",
}
LOST = "null: the server has given it to another item"


def upgrade() -> None:
    """Apply."""
    for table in TABLES:
        op.drop_column(table, "content_hash")
        op.alter_column(table, "server_item_id", nullable=True, comment=LOST)
        op.create_check_constraint(
            op.f(f"ck_{table}_has_server_id"), table, "server_item_id IS NOT NULL OR removed_at IS NOT NULL"
        )
        op.create_table_comment(table, COMMENTS[table])
    op.drop_constraint("fk_episodes_series_item_id", "episodes", type_="foreignkey")
    op.create_foreign_key("fk_episodes_series_item_id", "episodes", "titles", ["series_item_id"], ["item_id"])
    op.create_table(
        "item_versions",
        sa.Column("server_item_id", sa.Text(), nullable=False),
        sa.Column("item_id", sa.BigInteger(), nullable=False, comment="the number that states of the version have"),
        sa.Column(
            "primary_item_id",
            sa.BigInteger(),
            nullable=False,
            comment="the title or episode that it is a version of",
        ),
        sa.PrimaryKeyConstraint("server_item_id", name=op.f("pk_item_versions")),
        sa.UniqueConstraint("item_id", name=op.f("uq_item_versions_item_id")),
        comment="Alternate versions, which listings leave out: what users do with one counts for its title or episode.",
    )
    op.create_index("ix_item_versions_primary_item_id", "item_versions", ["primary_item_id"])
