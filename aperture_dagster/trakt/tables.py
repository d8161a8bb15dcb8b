"""Tables of Trakt: accounts that users connected, and what Trakt recommends to them."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB

from aperture_dagster.model import MEDIA_TYPES
from aperture_dagster.postgres.tables import Moment, metadata, one_of

trakt_accounts = sa.Table(
    "trakt_accounts",
    metadata,
    sa.Column("user_id", sa.Text, sa.ForeignKey("users.user_id"), primary_key=True),
    sa.Column("trakt_user", sa.Text, comment="their name on Trakt"),
    sa.Column("access_token", sa.Text, nullable=False, comment="encrypted with APERTURE_SECRET_KEY"),
    sa.Column("refresh_token", sa.Text, nullable=False, comment="encrypted, valid for one use"),
    sa.Column("issued_at", Moment, nullable=False),
    sa.Column("expires_at", Moment, nullable=False),
    sa.Column("installation_id", sa.Text, nullable=False, comment="of the installation that connected it"),
    sa.Column("state", sa.Text, nullable=False, comment="reconnect: the user must; waiting: they must act on Trakt"),
    sa.Column("trouble", sa.Text, comment="why it is not connected, as a sentence"),
    sa.Column("waits_until", Moment, comment="when it is tried again, while waiting"),
    sa.Column("activities", JSONB, comment="Trakt's last activities as of the last complete read"),
    sa.Column("read_at", Moment, comment="when the ratings were last read completely"),
    sa.Column("connected_at", Moment, nullable=False),
    sa.Column("updated_at", Moment, nullable=False, server_default=sa.text("now()")),
    one_of("state", ("connected", "waiting", "reconnect")),
    sa.CheckConstraint("(state = 'waiting') = (waits_until IS NOT NULL)", name="waits_until"),
    comment="Users who connected Trakt.",
)
trakt_recommendations = sa.Table(
    "trakt_recommendations",
    metadata,
    sa.Column("user_id", sa.Text, sa.ForeignKey("users.user_id"), primary_key=True),
    sa.Column("media_type", sa.Text, primary_key=True),
    sa.Column("titles", JSONB, nullable=False, comment="ids of titles at other services, the best title first"),
    sa.Column("read_at", Moment, nullable=False),
    one_of("media_type", MEDIA_TYPES),
    comment="What Trakt last recommended to each user who connected it.",
)
