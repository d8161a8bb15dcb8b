"""What this product has placed on the media server: the only things there that it may change or remove."""

from __future__ import annotations

from sqlalchemy import ARRAY, BigInteger, Column, ForeignKey, Index, Integer, SmallInteger, Table, Text
from sqlalchemy.dialects.postgresql import JSONB

from aperture_dagster.model import MEDIA_TYPES
from aperture_dagster.postgres.tables import PLACED, STAYS_WITH_WORK, WHILE_LISTED, Moment, between, metadata, one_of

ENTRY_STATES = ("planned", "placed", "leaving")

published_libraries = Table(
    "published_libraries",
    metadata,
    Column("list_key", Text, primary_key=True, info=PLACED, comment="which list, such as recommendations/USER/movie"),
    Column("user_id", Text, info=PLACED, comment="its owner; null: shared"),
    Column("media_type", Text, nullable=False),
    Column("name", Text, nullable=False, comment="on the media server"),
    Column("folder", Text, nullable=False, unique=True, comment="below the root"),
    Column("server_item_id", Text, comment="the library's id on the media server when last seen"),
    Column("policy_id", Text, comment="the same in users' policies"),
    Column("missing", Integer, nullable=False, comment="entries that the server did not show after its last scan"),
    Column("changed", Integer, nullable=False, comment="entries that the last run added, changed or removed"),
    Column("created_at", Moment, nullable=False, comment="the moment from which the dates of its titles are counted"),
    Column("unverified_since", Moment, comment="when something was placed that the server has not shown yet"),
    Column("root", Text, nullable=False, comment="APERTURE_PUBLISH_ROOT when it was placed"),
    Column("root_on_server", Text, nullable=False, comment="the same folder, as the media server sees it"),
    one_of("media_type", MEDIA_TYPES),
    comment="Libraries that were created on the media server. One is found there by its folder, never by id or name.",
)

published_entries = Table(
    "published_entries",
    metadata,
    Column("list_key", Text, ForeignKey("published_libraries.list_key"), primary_key=True),
    Column("entry_id", Text, primary_key=True, comment="also at the end of the folder's name, and in the NFO"),
    Column(
        "work_id",
        BigInteger,
        ForeignKey("works.work_id"),
        comment="null: found on disk, as after a restore",
        info=STAYS_WITH_WORK,
    ),
    Column("folder", Text, nullable=False, comment="below the library's folder"),
    Column("rank", SmallInteger, nullable=False),
    Column("state", Text, nullable=False, comment="planned: files may be there; placed: they are; leaving: may be"),
    Column("date_added", Moment, nullable=False, comment="as the server shows it; in the order of the ranks"),
    Column("nfo_changed_at", Moment, comment="when an NFO was last replaced; null: not since it was placed"),
    Column("files", JSONB, nullable=False, comment="path below the folder -> kind, digest, size, mtime, item"),
    Column("because", ARRAY(BigInteger), nullable=False, comment="the works that its reason names on the server"),
    one_of("state", ENTRY_STATES),
    between("rank", 1),
    comment="Titles in published libraries, with every file that was or may have been placed.",
)

published_copies = Table(
    "published_copies",
    metadata,
    Column("server_item_id", Text, primary_key=True),
    Column("list_key", Text, ForeignKey("published_libraries.list_key", ondelete="CASCADE"), nullable=False),
    Index("ix_published_copies_list_key", "list_key"),
    comment="Titles and episodes that published libraries show, by their ids on the media server, as long as they do. "
    "item_versions says which originals they are copies of.",
)

published_lists = Table(
    "published_lists",
    metadata,
    Column("list_key", Text, primary_key=True, info=PLACED),
    Column("kind", Text, primary_key=True),
    Column("user_id", Text, primary_key=True, info=PLACED, comment="a playlist's owner; empty: shared"),
    Column("name", Text, nullable=False),
    Column("server_list_id", Text, comment="null while it is being created or changed"),
    Column("items", ARRAY(Text), nullable=False, comment="server ids that were put into it"),
    Column("others", ARRAY(Text), nullable=False, comment="server ids that others added to it"),
    Column("changed", Integer, nullable=False, comment="entries that the last run added, moved or removed"),
    one_of("kind", ("collection", "playlist")),
    comment="Collections and playlists on the media server.",
)

published_access = Table(
    "published_access",
    metadata,
    Column("user_id", Text, primary_key=True, info=WHILE_LISTED),
    Column("server_item_id", Text, primary_key=True, comment="a library's id"),
    Column("kind", Text, primary_key=True),
    one_of("kind", ("view", "latest")),
    comment="What was hidden once in users' settings, from a user's view or from Latest. What a user shows again stays "
    "shown.",
)

library_lists = Table(
    "library_lists",
    metadata,
    Column("user_id", Text, primary_key=True, info=WHILE_LISTED),
    Column("before", ARRAY(Text), nullable=False, comment="the ids in the user's policy before"),
    Column("offered", ARRAY(Text), nullable=False, comment="ids in policies of libraries that were put on the list"),
    comment="Users who might see all libraries, and were given a list of them instead. From one who lacks a library "
    "that was offered, the operator took it: they keep the list.",
)
