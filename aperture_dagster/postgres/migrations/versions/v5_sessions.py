"""Sessions of members are rows, so that they can be listed and ended."""

from alembic import op

revision = "v5"
down_revision = "v4"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the table. Members who are signed in have to sign in again."""
    op.execute("""
        CREATE TABLE sessions (
            session_id BIGSERIAL NOT NULL,
            digest TEXT NOT NULL,
            secret_digest TEXT NOT NULL,
            user_id TEXT NOT NULL,
            is_administrator BOOLEAN NOT NULL,
            device TEXT NOT NULL,
            created_at TIMESTAMP WITH TIME ZONE NOT NULL,
            seen_at TIMESTAMP WITH TIME ZONE NOT NULL,
            confirmed_at TIMESTAMP WITH TIME ZONE NOT NULL,
            CONSTRAINT pk_sessions PRIMARY KEY (session_id),
            CONSTRAINT uq_sessions_digest UNIQUE (digest)
        );
        COMMENT ON TABLE sessions IS 'Browsers in which members are signed in. Signing out deletes the row.';
        COMMENT ON COLUMN sessions.digest IS 'SHA-256 of the token in the browser''s cookie';
        COMMENT ON COLUMN sessions.secret_digest IS
            'of the secret that signed the cookie; void under another one';
        COMMENT ON COLUMN sessions.user_id IS 'may be a user whom no sync has read yet';
        COMMENT ON COLUMN sessions.is_administrator IS 'as the media server last said';
        COMMENT ON COLUMN sessions.device IS 'browser and system, such as Firefox, Android; may be empty';
        COMMENT ON COLUMN sessions.seen_at IS 'last use, to the hour';
        COMMENT ON COLUMN sessions.confirmed_at IS 'when the media server last let them in, to the hour';
        CREATE INDEX ix_sessions_user_id ON sessions (user_id);
    """)
