"""The series that users are watching."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Date, ForeignKey, Integer, SmallInteger, Table, Text, text

from aperture_dagster.storage.tables.base import Moment, between, metadata

shows_you_watch = Table(
    "shows_you_watch",
    metadata,
    Column("user_id", Text, ForeignKey("users.user_id"), primary_key=True),
    Column("work_id", BigInteger, ForeignKey("works.work_id"), primary_key=True),
    Column("rank", SmallInteger, nullable=False, comment="by last activity, 1 is the latest"),
    Column("item_id", BigInteger, nullable=False, comment="the copy of the series to play"),
    Column("episodes_played", Integer, nullable=False, comment="of episodes_out"),
    Column("episodes_out", Integer, nullable=False, comment="in the library and aired, or played"),
    Column("next_item_id", BigInteger, comment="the next episode to watch; null: none in the library"),
    Column("next_season", Integer),
    Column("next_number", Integer),
    Column("next_title", Text),
    Column("behind", Integer, nullable=False, comment="aired episodes to watch, from the next one on"),
    Column("next_air_date", Date, comment="of the next episode to air; null: unknown"),
    Column("last_played_at", Moment, comment="null: unknown"),
    Column("listed_at", Moment, nullable=False, server_default=text("now()"), comment="kept while it is listed"),
    Column("updated_at", Moment, nullable=False, server_default=text("now()")),
    between("rank", 1),
    between("episodes_played", 0),
    between("episodes_out", 0),
    between("behind", 0),
    info={"derived": True},
    comment="The series that each user is watching, and where they are in it.",
)
