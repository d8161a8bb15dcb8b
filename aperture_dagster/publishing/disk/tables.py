"""The files of originals, as the media server lists them."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Table, Text
from sqlalchemy.dialects.postgresql import JSONB

from aperture_dagster.postgres.tables import Moment, metadata

item_files = Table(
    "item_files",
    metadata,
    Column("item_id", BigInteger, primary_key=True, autoincrement=False),
    Column("path", Text, comment="of the item when the files were read"),
    Column("sources", JSONB, nullable=False, comment="versions, parts and subtitles, as the server lists them"),
    Column("picture_tag", Text, comment="changes with the item's picture"),
    Column("artwork", JSONB, nullable=False, comment="kind, tag and path of each of its other pictures"),
    Column("read_at", Moment, nullable=False),
    comment="The files of titles and episodes that are published.",
)
