"""What members said and chose, and the browsers and programs that act for them."""

import sqlalchemy as sa

from aperture_dagster.model import MEDIA_TYPES
from aperture_dagster.postgres.tables import FOLLOWS_TITLE, IS_USER, Moment, metadata, one_of

dismissals = sa.Table(
    "dismissals",
    metadata,
    sa.Column("user_id", sa.Text, sa.ForeignKey("users.user_id"), primary_key=True),
    sa.Column("work_id", sa.BigInteger, sa.ForeignKey("works.work_id"), primary_key=True, info=FOLLOWS_TITLE),
    sa.Column("media_type", sa.Text, nullable=False),
    sa.Column("tmdb_id", sa.BigInteger),
    sa.Column("imdb_id", sa.Text),
    sa.Column("tvdb_id", sa.BigInteger),
    sa.Column("title", sa.Text, nullable=False, comment="as it was called then"),
    sa.Column("dismissed_at", Moment, nullable=False),
    one_of("media_type", MEDIA_TYPES),
    comment="What a user does not want to be suggested, under all ids known then: services renumber titles.",
)

more_like_this = sa.Table(
    "more_like_this",
    metadata,
    sa.Column("user_id", sa.Text, sa.ForeignKey("users.user_id"), primary_key=True),
    sa.Column("work_id", sa.BigInteger, sa.ForeignKey("works.work_id"), primary_key=True, info=FOLLOWS_TITLE),
    sa.Column("title", sa.Text, nullable=False, comment="as it was called then"),
    sa.Column("asked_at", Moment, nullable=False),
    comment="Titles of which a user asked for more like them.",
)

for_later = sa.Table(
    "for_later",
    metadata,
    sa.Column("user_id", sa.Text, sa.ForeignKey("users.user_id"), primary_key=True),
    sa.Column("work_id", sa.BigInteger, sa.ForeignKey("works.work_id"), primary_key=True, info=FOLLOWS_TITLE),
    sa.Column("title", sa.Text, nullable=False, comment="as it was called then"),
    sa.Column("was_missing", sa.Boolean, nullable=False, comment="whether it was not in the library then"),
    sa.Column("added_at", Moment, nullable=False),
    comment="Titles that users put aside for later; those that they have watched since count no more.",
)

api_keys = sa.Table(
    "api_keys",
    metadata,
    sa.Column("name", sa.Text, primary_key=True, comment="what the operator calls the program"),
    sa.Column("digest", sa.Text, nullable=False, unique=True, comment="SHA-256 of the key"),
    sa.Column("user_id", sa.Text, sa.ForeignKey("users.user_id"), comment="whose lists it may read; null: everybody's"),
    sa.Column("created_at", Moment, nullable=False, server_default=sa.text("now()")),
    comment="Programs that may read lists of users.",
)

sessions = sa.Table(
    "sessions",
    metadata,
    sa.Column("session_id", sa.BigInteger, primary_key=True, autoincrement=True),
    sa.Column("digest", sa.Text, nullable=False, unique=True, comment="SHA-256 of the token in the browser's cookie"),
    sa.Column(
        "secret_digest", sa.Text, nullable=False, comment="of the secret that signed the cookie; void under another one"
    ),
    sa.Column("user_id", sa.Text, nullable=False, info=IS_USER, comment="may be a user whom no sync has read yet"),
    sa.Column("is_administrator", sa.Boolean, nullable=False, comment="as the media server last said"),
    sa.Column("device", sa.Text, nullable=False, comment="browser and system, such as Firefox, Android; may be empty"),
    sa.Column("created_at", Moment, nullable=False),
    sa.Column("seen_at", Moment, nullable=False, comment="last use, to the hour"),
    sa.Column("confirmed_at", Moment, nullable=False, comment="when the media server last let them in, to the hour"),
    sa.Index("ix_sessions_user_id", "user_id"),
    comment="Browsers in which members are signed in. Signing out deletes the row.",
)

member_choices = sa.Table(
    "member_choices",
    metadata,
    sa.Column("user_id", sa.Text, sa.ForeignKey("users.user_id"), primary_key=True),
    sa.Column("publish", sa.Boolean, nullable=False, comment="whether their own lists are on the media server"),
    sa.Column("list_name", sa.Text, comment="in place of their name in the names of these"),
    sa.Column(
        "excluded_genres",
        sa.ARRAY(sa.Text),
        nullable=False,
        server_default="{}",
        comment="of which no title is on their lists",
    ),
    sa.Column("newsletter", sa.Boolean, nullable=False),
    sa.Column("address", sa.Text, comment="e-mail address for it, or an encrypted one of apprise; null: that in users"),
    sa.Column(
        "together",
        sa.Boolean,
        nullable=False,
        server_default=sa.text("false"),
        comment="whether others may count them in for evenings together, and note what they watched then",
    ),
    sa.Column(
        "favourites",
        sa.Boolean,
        nullable=False,
        server_default=sa.text("false"),
        comment="whether what they liked counts for the household's favourites of a year",
    ),
    sa.Column("language", sa.Text, comment="in which it is, such as de-AT"),
    sa.Column(
        "unsubscribe_key",
        sa.Text,
        nullable=False,
        unique=True,
        server_default=sa.text("gen_random_uuid()::text"),
        comment="in the link that ends it, for whoever holds a letter",
    ),
    sa.Column("updated_at", Moment, nullable=False, server_default=sa.text("now()")),
    comment="What members chose on their page; who chose nothing has no row.",
)

watched_together = sa.Table(
    "watched_together",
    metadata,
    sa.Column("user_id", sa.Text, sa.ForeignKey("users.user_id"), primary_key=True),
    sa.Column("work_id", sa.BigInteger, sa.ForeignKey("works.work_id"), primary_key=True, info=FOLLOWS_TITLE),
    sa.Column("title", sa.Text, nullable=False, comment="as it was called then"),
    sa.Column("watched_at", Moment, nullable=False),
    comment="What users watched with others, as one of these said; lists count it as seen.",
)
