"""The media server's libraries, items, users and watch histories, the works behind the items, and views of them."""

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB

from aperture_dagster.model import MEDIA_TYPES
from aperture_dagster.postgres.tables import FOLLOWS_ITEM, STAYS_WITH_WORK, Moment, between, metadata, one_of

item_ids = sa.Sequence("item_id_seq", metadata=metadata, data_type=sa.BigInteger)
"""Numbers of titles, episodes and their alternate versions."""

libraries = sa.Table(
    "libraries",
    metadata,
    sa.Column("library_id", sa.Text, primary_key=True),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("collection_type", sa.Text),
    sa.Column("updated_at", Moment, nullable=False, server_default=sa.text("now()")),
    comment="The media server's libraries.",
)

works = sa.Table(
    "works",
    metadata,
    sa.Column("work_id", sa.BigInteger, primary_key=True, autoincrement=True),
    sa.Column("media_type", sa.Text, nullable=False),
    sa.Column("tmdb_id", sa.BigInteger),
    sa.Column("imdb_id", sa.Text),
    sa.Column("tvdb_id", sa.BigInteger),
    sa.Column("created_at", Moment, nullable=False, server_default=sa.text("now()")),
    sa.Column("unused_since", Moment, comment="since when no other row refers to it; null while one does"),
    one_of("media_type", MEDIA_TYPES),
    sa.Index("ix_works_tmdb", "media_type", "tmdb_id"),
    sa.Index("ix_works_imdb", "media_type", "imdb_id"),
    comment="Films and series, independent of their copies. Works in use are never deleted: history and ratings refer "
    "to them.",
)

titles = sa.Table(
    "titles",
    metadata,
    sa.Column("item_id", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("work_id", sa.BigInteger, sa.ForeignKey("works.work_id"), nullable=False, info=STAYS_WITH_WORK),
    sa.Column("media_type", sa.Text, nullable=False),
    sa.Column("server_item_id", sa.Text, unique=True, comment="null if the server has given it to another item"),
    sa.Column("library_id", sa.Text, nullable=False),
    sa.Column("title", sa.Text, nullable=False),
    sa.Column("original_title", sa.Text),
    sa.Column("year", sa.Integer),
    sa.Column("premiere_date", sa.Date),
    sa.Column("overview", sa.Text),
    sa.Column("tagline", sa.Text),
    sa.Column("genres", sa.ARRAY(sa.Text), nullable=False),
    sa.Column("tags", sa.ARRAY(sa.Text), nullable=False),
    sa.Column("studios", sa.ARRAY(sa.Text), nullable=False),
    sa.Column("official_rating", sa.Text),
    sa.Column("community_rating", sa.REAL),
    sa.Column("critic_rating", sa.REAL),
    sa.Column("runtime_minutes", sa.Integer),
    sa.Column("status", sa.Text),
    sa.Column("path", sa.Text),
    sa.Column("tmdb_id", sa.BigInteger),
    sa.Column("imdb_id", sa.Text),
    sa.Column("tvdb_id", sa.BigInteger),
    sa.Column("added_at", Moment),
    sa.Column("picture_tag", sa.Text, comment="of the primary picture; null if it has none"),
    sa.Column("first_seen_at", Moment, nullable=False, server_default=sa.text("now()")),
    sa.Column("updated_at", Moment, nullable=False, server_default=sa.text("now()")),
    sa.Column("removed_at", Moment),
    one_of("media_type", MEDIA_TYPES),
    sa.CheckConstraint("server_item_id IS NOT NULL OR removed_at IS NOT NULL", name="has_server_id"),
    sa.Index("ix_titles_work_id", "work_id"),
    sa.Index("ix_titles_media_type", "media_type", "removed_at"),
    comment="One row per film or series item on the media server; removed_at is its tombstone. Never deleted.",
)

episodes = sa.Table(
    "episodes",
    metadata,
    sa.Column("item_id", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("series_item_id", sa.BigInteger, sa.ForeignKey("titles.item_id"), nullable=False),
    sa.Column("work_id", sa.BigInteger, sa.ForeignKey("works.work_id"), nullable=False, info=FOLLOWS_ITEM),
    sa.Column("server_item_id", sa.Text, unique=True, comment="null if the server has given it to another item"),
    sa.Column("library_id", sa.Text, nullable=False),
    sa.Column("season", sa.Integer),
    sa.Column("number", sa.Integer),
    sa.Column("number_end", sa.Integer),
    sa.Column("title", sa.Text, nullable=False),
    sa.Column("air_date", sa.Date),
    sa.Column("runtime_minutes", sa.Integer),
    sa.Column("path", sa.Text),
    sa.Column("first_seen_at", Moment, nullable=False, server_default=sa.text("now()")),
    sa.Column("updated_at", Moment, nullable=False, server_default=sa.text("now()")),
    sa.Column("removed_at", Moment),
    sa.CheckConstraint("server_item_id IS NOT NULL OR removed_at IS NOT NULL", name="has_server_id"),
    sa.Index("ix_episodes_series_item_id", "series_item_id", "season", "number"),
    sa.Index("ix_episodes_work_id", "work_id"),
    sa.Index("ix_episodes_first_seen_at", "first_seen_at"),
    comment="One row per episode item on the media server; removed_at is its tombstone. Never deleted.",
)

item_versions = sa.Table(
    "item_versions",
    metadata,
    sa.Column("server_item_id", sa.Text, primary_key=True),
    sa.Column("item_id", sa.BigInteger, nullable=False, unique=True, comment="used by watch states of the version"),
    sa.Column("primary_item_id", sa.BigInteger, nullable=False, comment="the title or episode of the version"),
    sa.Column(
        "is_published", sa.Boolean, nullable=False, server_default=sa.text("false"), comment="a published copy of ours"
    ),
    sa.Index("ix_item_versions_primary_item_id", "primary_item_id"),
    comment="Alternate versions and published copies, which listings omit. Their watch states count for the title or "
    "episode.",
)


# The media server's users and their watch histories.


users = sa.Table(
    "users",
    metadata,
    sa.Column("user_id", sa.Text, primary_key=True),
    sa.Column("partition_key", sa.Text, nullable=False, unique=True),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("email", sa.Text),
    sa.Column("email_source", sa.Text),
    sa.Column("is_administrator", sa.Boolean, nullable=False),
    sa.Column("is_hidden", sa.Boolean, nullable=False),
    sa.Column("is_disabled", sa.Boolean, nullable=False),
    sa.Column("max_parental_rating", sa.Integer),
    sa.Column("all_libraries", sa.Boolean, nullable=False),
    sa.Column("library_ids", sa.ARRAY(sa.Text), nullable=False),
    sa.Column("blocked_tags", sa.ARRAY(sa.Text), nullable=False),
    sa.Column("allowed_tags", sa.ARRAY(sa.Text), nullable=False),
    sa.Column("open_library_ids", sa.ARRAY(sa.Text), nullable=False),
    sa.Column("excluded_folders", sa.ARRAY(sa.Text), nullable=False),
    sa.Column("last_activity_at", Moment),
    sa.Column("first_seen_at", Moment, nullable=False, server_default=sa.text("now()")),
    sa.Column("updated_at", Moment, nullable=False, server_default=sa.text("now()")),
    sa.Column("removed_at", Moment),
    sa.Column("former_names", sa.ARRAY(sa.Text), nullable=False, server_default=sa.text("'{}'::text[]")),
    comment="One row per user ever seen on the media server; removed_at is set if the server no longer lists them.",
)

departures = sa.Table(
    "departures",
    metadata,
    sa.Column("user_id", sa.Text, sa.ForeignKey("users.user_id"), primary_key=True),
    sa.Column("days", sa.Integer, nullable=False, comment="on which the server's whole list of users lacked them"),
    sa.Column("last_on", sa.Date, nullable=False, comment="the last of these"),
    sa.Column("announced_at", sa.Integer, comment="the number of days when it was said that they will be forgotten"),
    between("days", 1),
    comment="Users who left the media server, while they are remembered. Who comes back has no row.",
)

watch_state = sa.Table(
    "watch_state",
    metadata,
    sa.Column("user_id", sa.Text, sa.ForeignKey("users.user_id"), primary_key=True),
    sa.Column("item_id", sa.BigInteger, primary_key=True),
    sa.Column("work_id", sa.BigInteger, sa.ForeignKey("works.work_id"), nullable=False, info=FOLLOWS_ITEM),
    sa.Column("is_episode", sa.Boolean, nullable=False),
    sa.Column("played", sa.Boolean, nullable=False),
    sa.Column("play_count", sa.Integer, nullable=False),
    sa.Column("position_share", sa.REAL, nullable=False, comment="0-1, playback position as a share of the runtime"),
    sa.Column("last_played_at", Moment),
    sa.Column("favorite", sa.Boolean, nullable=False),
    sa.Column("updated_at", Moment, nullable=False, server_default=sa.text("now()")),
    between("play_count", 0),
    between("position_share", 0, 1),
    sa.Index("ix_watch_state_user_work", "user_id", "work_id"),
    comment="Current state on the media server, one row per user and item.",
)

history_imports = sa.Table(
    "history_imports",
    metadata,
    sa.Column("import_id", sa.BigInteger, primary_key=True, autoincrement=True),
    sa.Column("user_id", sa.Text, sa.ForeignKey("users.user_id"), nullable=False),
    sa.Column("source", sa.Text, nullable=False, comment="the program whose file it is, such as letterboxd"),
    sa.Column("file_name", sa.Text, nullable=False),
    sa.Column("imported_at", Moment, nullable=False),
    sa.Column("shares_ratings", sa.Boolean, nullable=False, comment="whether its ratings may be sent elsewhere"),
    sa.Column("figures", JSONB, nullable=False, server_default="{}", comment="what it wrote, by kind"),
    sa.Column("later", sa.ARRAY(sa.BigInteger), nullable=False, server_default="{}", comment="works kept for later"),
    sa.Index("ix_history_imports_user_id", "user_id"),
    comment="Files of other programs that were imported for a user. Whoever takes one back deletes all that it wrote.",
)

seen_elsewhere = sa.Table(
    "seen_elsewhere",
    metadata,
    sa.Column("seen_id", sa.BigInteger, primary_key=True, autoincrement=True),
    sa.Column("user_id", sa.Text, sa.ForeignKey("users.user_id"), nullable=False),
    sa.Column("import_id", sa.BigInteger, sa.ForeignKey("history_imports.import_id"), nullable=False),
    sa.Column(
        "work_id",
        sa.BigInteger,
        sa.ForeignKey("works.work_id"),
        info=STAYS_WITH_WORK,
        comment="null: not known yet",
    ),
    sa.Column("media_type", sa.Text, comment="null: the file does not say it"),
    sa.Column("title", sa.Text, comment="as the file calls it"),
    sa.Column("year", sa.Integer),
    sa.Column("episode_imdb_id", sa.Text, comment="of the episode, if the file does not name its series"),
    sa.Column("times", sa.Integer, nullable=False, comment="viewings, of a series in episodes; 0: only liked or rated"),
    sa.Column("seen_at", Moment, comment="last; null if the file does not say it"),
    sa.Column("is_liked", sa.Boolean, nullable=False),
    sa.Column("rating", sa.SmallInteger, comment="1-10, which counts once the title is recognised"),
    sa.Column("rated_at", Moment),
    one_of("media_type", MEDIA_TYPES),
    between("times", 0),
    between("rating", 1, 10),
    sa.Index("ix_seen_elsewhere_user_id", "user_id", "work_id"),
    comment="What users have seen of titles that the library lacks, or at a time that nobody knows, by imported files.",
)

plays = sa.Table(
    "plays",
    metadata,
    sa.Column("user_id", sa.Text, sa.ForeignKey("users.user_id"), primary_key=True),
    sa.Column("item_id", sa.BigInteger, primary_key=True),
    sa.Column("played_at", Moment, primary_key=True),
    sa.Column("work_id", sa.BigInteger, sa.ForeignKey("works.work_id"), nullable=False, info=FOLLOWS_ITEM),
    sa.Column("is_episode", sa.Boolean, nullable=False),
    sa.Column("play_count", sa.Integer, nullable=False, comment="plays since the last sync"),
    sa.Column("completion", sa.REAL, nullable=False, comment="0-1"),
    sa.Column("seen_at", Moment, nullable=False, server_default=sa.text("now()")),
    sa.Column("imported_from", sa.Text, comment="the program whose file it is from; null: from the media server"),
    sa.Column("import_id", sa.BigInteger, sa.ForeignKey("history_imports.import_id"), comment="of that file"),
    between("play_count", 0),
    between("completion", 0, 1),
    sa.Index("ix_plays_played_at", "played_at"),
    sa.Index("ix_plays_imported", "user_id", postgresql_where=sa.text("imported_from IS NOT NULL")),
    comment="Log of plays. Plays without a known time are not included.",
)

history_syncs = sa.Table(
    "history_syncs",
    metadata,
    sa.Column("user_id", sa.Text, sa.ForeignKey("users.user_id"), primary_key=True),
    sa.Column("watermark", Moment, comment="latest last_played_at seen"),
    sa.Column("synced_at", Moment, nullable=False),
    sa.Column("full_synced_at", Moment),
    comment="How far each user's history has been read.",
)


VIEWS = {
    "present_titles": "SELECT * FROM titles WHERE removed_at IS NULL",
    "present_episodes": "SELECT * FROM episodes WHERE removed_at IS NULL",
    "present_users": "SELECT * FROM users WHERE removed_at IS NULL",
    # One copy per work: the oldest present one, or else the oldest. LATERAL with LIMIT, since a query for a few works
    # would otherwise read all titles.
    "work_copies": f"SELECT w.work_id, {', '.join(f'c.{one.name}' for one in titles.columns if one.name != 'work_id')} "
    "FROM works w CROSS JOIN LATERAL (SELECT * FROM titles t WHERE t.work_id = w.work_id "
    "ORDER BY removed_at IS NOT NULL, item_id LIMIT 1) c",
    # All server ids: titles, episodes and their alternate versions. The watch state of a version has its own item_id,
    # its plays have that of the title or episode. A version is removed if its primary item is.
    "items": "SELECT server_item_id, item_id, item_id AS logged_as, work_id, false AS is_episode, NULL::int AS season, "
    "NULL::int AS number, title AS name, NULL::text AS series_name, removed_at, false AS is_version, "
    "false AS is_published FROM titles "
    "UNION ALL SELECT e.server_item_id, e.item_id, e.item_id, e.work_id, true, e.season, e.number, e.title, s.title, "
    "e.removed_at, false, false FROM episodes e JOIN titles s ON s.item_id = e.series_item_id "
    "UNION ALL SELECT v.server_item_id, v.item_id, v.primary_item_id, t.work_id, false, NULL, NULL, NULL, NULL, "
    "t.removed_at, true, v.is_published FROM item_versions v JOIN titles t ON t.item_id = v.primary_item_id "
    "UNION ALL SELECT v.server_item_id, v.item_id, v.primary_item_id, e.work_id, true, e.season, e.number, NULL, NULL, "
    "e.removed_at, true, v.is_published FROM item_versions v JOIN episodes e ON e.item_id = v.primary_item_id",
}
