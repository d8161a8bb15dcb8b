"""The series that users are watching."""

import sqlalchemy as sa

from aperture_dagster.postgres.tables import Moment, between, metadata

shows_you_watch = sa.Table(
    "shows_you_watch",
    metadata,
    sa.Column("user_id", sa.Text, sa.ForeignKey("users.user_id"), primary_key=True),
    sa.Column("work_id", sa.BigInteger, sa.ForeignKey("works.work_id"), primary_key=True),
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
