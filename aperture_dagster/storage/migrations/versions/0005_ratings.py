"""Ratings have rows of their own, with the moment at which each was first seen, and a log of changes."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    op.create_table(
        "ratings",
        sa.Column("user_id", sa.Text(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False, comment="server: read from the media server"),
        sa.Column("work_id", sa.BigInteger(), nullable=False),
        sa.Column(
            "item_id", sa.BigInteger(), nullable=False, comment="the copy or episode that was rated; 0: the work"
        ),
        sa.Column("rating", sa.Float(), nullable=False, comment="0-10"),
        sa.Column(
            "rated_at",
            sa.DateTime(timezone=True),
            nullable=False,
            comment="when the source says; else when this value was first seen",
        ),
        sa.ForeignKeyConstraint(["user_id"], ["users.user_id"], name=op.f("fk_ratings_user_id")),
        sa.ForeignKeyConstraint(["work_id"], ["works.work_id"], name=op.f("fk_ratings_work_id")),
        sa.PrimaryKeyConstraint("user_id", "source", "work_id", "item_id", name=op.f("pk_ratings")),
        comment="What each source says now of a user's ratings. An equal value that is read again keeps its date.",
    )
    op.create_table(
        "rating_changes",
        sa.Column("change_id", sa.BigInteger(), autoincrement=True, nullable=False),
        sa.Column("user_id", sa.Text(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("work_id", sa.BigInteger(), nullable=False),
        sa.Column("item_id", sa.BigInteger(), nullable=False),
        sa.Column("rating", sa.Float(), nullable=True, comment="null: taken back"),
        sa.Column("previous", sa.Float(), nullable=True, comment="null: there was none"),
        sa.Column(
            "rated_at",
            sa.DateTime(timezone=True),
            nullable=False,
            comment="of the new value, or when it was seen to be gone",
        ),
        sa.Column("noted_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(["user_id"], ["users.user_id"], name=op.f("fk_rating_changes_user_id")),
        sa.ForeignKeyConstraint(["work_id"], ["works.work_id"], name=op.f("fk_rating_changes_work_id")),
        sa.PrimaryKeyConstraint("change_id", name=op.f("pk_rating_changes")),
        comment="Append-only log of ratings given, changed and taken back.",
    )
    op.create_index("ix_rating_changes_user_work", "rating_changes", ["user_id", "work_id"])
    # When a rating was seen first was not kept; the last change of its row is the nearest that is known. The detour
    # over text gives 7.3 as 7.3, where a cast would give 7.300000190734863.
    op.execute(
        "INSERT INTO ratings (user_id, source, work_id, item_id, rating, rated_at) "
        "SELECT user_id, 'server', work_id, item_id, rating::text::float8, updated_at FROM watch_state "
        "WHERE rating IS NOT NULL"
    )
    op.execute(
        "INSERT INTO rating_changes (user_id, source, work_id, item_id, rating, rated_at) "
        "SELECT user_id, source, work_id, item_id, rating, rated_at FROM ratings ORDER BY rated_at"
    )
    op.drop_column("watch_state", "rating")
