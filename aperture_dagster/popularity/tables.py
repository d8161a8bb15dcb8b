"""Top Picks and the series that users are watching."""

from __future__ import annotations

import sqlalchemy as sa

from aperture_dagster.model import MEDIA_TYPES
from aperture_dagster.postgres.tables import STAYS_WITH_WORK, Moment, between, metadata, one_of

TOP_PICKS_SOURCES = ("local", "mdblist", "tmdb", "hybrid")
top_picks = sa.Table(
    "top_picks",
    metadata,
    sa.Column("day", sa.Date, primary_key=True),
    sa.Column("media_type", sa.Text, primary_key=True),
    sa.Column("rank", sa.SmallInteger, primary_key=True),
    sa.Column("work_id", sa.BigInteger, sa.ForeignKey("works.work_id"), nullable=False, info=STAYS_WITH_WORK),
    sa.Column("item_id", sa.BigInteger, nullable=False),
    sa.Column("viewers", sa.Integer, nullable=False),
    sa.Column("plays", sa.Integer, nullable=False),
    sa.Column("completion", sa.REAL, nullable=False),
    sa.Column("score", sa.REAL, nullable=False),
    sa.Column(
        "relaxed", sa.Boolean, nullable=False, comment="the minimum number of viewers was lowered to fill the list"
    ),
    sa.Column("source", sa.Text, nullable=False, comment="what the list was made from"),
    sa.Column("generated_at", Moment, nullable=False, server_default=sa.text("now()")),
    one_of("media_type", MEDIA_TYPES),
    between("rank", 1),
    one_of("source", TOP_PICKS_SOURCES),
    between("viewers", 0),
    between("plays", 0),
    between("completion", 0, 1),
    between("score", 0, 1),
    sa.UniqueConstraint("day", "media_type", "work_id"),
    comment="The most popular titles of the household, one list per day.",
)

shows_you_watch = sa.Table(
    "shows_you_watch",
    metadata,
    sa.Column("user_id", sa.Text, sa.ForeignKey("users.user_id"), primary_key=True),
    sa.Column("work_id", sa.BigInteger, sa.ForeignKey("works.work_id"), primary_key=True, info=STAYS_WITH_WORK),
    sa.Column("rank", sa.SmallInteger, nullable=False, comment="by last activity, 1 is the latest"),
    sa.Column("item_id", sa.BigInteger, nullable=False, comment="the copy of the series to play"),
    sa.Column("episodes_played", sa.Integer, nullable=False, comment="of episodes_out"),
    sa.Column("episodes_out", sa.Integer, nullable=False, comment="in the library and aired, or played"),
    sa.Column("next_item_id", sa.BigInteger, comment="the next episode to watch; null: none in the library"),
    sa.Column("next_season", sa.Integer),
    sa.Column("next_number", sa.Integer),
    sa.Column("next_title", sa.Text),
    sa.Column("behind", sa.Integer, nullable=False, comment="aired episodes to watch, from the next one on"),
    sa.Column("next_air_date", sa.Date, comment="of the next episode to air; null: unknown"),
    sa.Column("last_played_at", Moment, comment="null: unknown"),
    sa.Column("listed_at", Moment, nullable=False, server_default=sa.text("now()"), comment="kept while it is listed"),
    sa.Column("updated_at", Moment, nullable=False, server_default=sa.text("now()")),
    between("rank", 1),
    between("episodes_played", 0),
    between("episodes_out", 0),
    between("behind", 0),
    info={"derived": True},
    comment="The series that each user is watching, and where they are in it.",
)
