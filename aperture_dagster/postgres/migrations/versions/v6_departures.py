"""Since when users who left the media server have been away, which is confirmed day by day."""

from alembic import op

revision = "v6"
down_revision = "v5"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the table. For users who left before, the days count from now on."""
    op.execute("""
        CREATE TABLE departures (
            user_id TEXT NOT NULL,
            days INTEGER NOT NULL,
            last_on DATE NOT NULL,
            announced_at INTEGER,
            CONSTRAINT pk_departures PRIMARY KEY (user_id),
            CONSTRAINT ck_departures_days CHECK (days >= 1),
            CONSTRAINT fk_departures_user_id FOREIGN KEY(user_id) REFERENCES users (user_id)
        );
        COMMENT ON TABLE departures IS
            'Users who left the media server, while they are remembered. Who comes back has no row.';
        COMMENT ON COLUMN departures.days IS 'on which the server''s whole list of users lacked them';
        COMMENT ON COLUMN departures.last_on IS 'the last of these';
        COMMENT ON COLUMN departures.announced_at IS
            'the number of days when it was said that they will be forgotten';
    """)
