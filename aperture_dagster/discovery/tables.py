"""Titles that are not in the library: what is known of them, who might like them, and requests for them.

They are works without copies, so that ratings, dismissals and requests stay with a title when the library gets it.
"""

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB

from aperture_dagster.model import MEDIA_TYPES
from aperture_dagster.postgres.tables import STAYS_WITH_WORK, Moment, between, metadata, one_of

REQUEST_STATES = ("sending", "pending", "approved", "declined", "failed", "completed", "available", "refused")

discovery_pool = sa.Table(
    "discovery_pool",
    metadata,
    sa.Column("work_id", sa.BigInteger, sa.ForeignKey("works.work_id"), primary_key=True, info=STAYS_WITH_WORK),
    sa.Column("media_type", sa.Text, nullable=False),
    sa.Column("tmdb_id", sa.BigInteger, nullable=False),
    sa.Column("wanted_at", Moment, comment="when it was last suggested to anybody; null: only seen elsewhere"),
    sa.Column("fetched_at", Moment, comment="when the columns below were requested; null: not yet"),
    sa.Column("imdb_id", sa.Text),
    sa.Column("tvdb_id", sa.BigInteger),
    sa.Column("title", sa.Text),
    sa.Column("original_title", sa.Text),
    sa.Column("overview", sa.Text),
    sa.Column("tagline", sa.Text),
    sa.Column("status", sa.Text),
    sa.Column("release_date", sa.Date),
    sa.Column("genres", sa.ARRAY(sa.Text)),
    sa.Column("keywords", sa.ARRAY(sa.Text)),
    sa.Column("cast", sa.ARRAY(sa.Text)),
    sa.Column("directors", sa.ARRAY(sa.Text)),
    sa.Column("creators", sa.ARRAY(sa.Text)),
    sa.Column("companies", sa.ARRAY(sa.Text)),
    sa.Column("networks", sa.ARRAY(sa.Text)),
    sa.Column("countries", sa.ARRAY(sa.Text)),
    sa.Column("original_language", sa.Text),
    sa.Column("vote_average", sa.Float),
    sa.Column("vote_count", sa.Integer),
    sa.Column("popularity", sa.Float),
    sa.Column("poster_path", sa.Text),
    sa.Column("backdrop_path", sa.Text),
    sa.Column("runtime_minutes", sa.Integer),
    sa.Column("is_adult", sa.Boolean),
    sa.Column("certifications", JSONB, comment="country -> certifications, without empty ones"),
    sa.Column("releases", JSONB, comment="of a film: country -> {theatrical, digital, physical, tv: first date}"),
    sa.Column("providers", JSONB, comment="country -> {flatrate, free, ads, rent, buy: names}; from JustWatch"),
    sa.Column("recommended_tmdb_ids", sa.ARRAY(sa.BigInteger)),
    sa.Column("trailers", JSONB, comment="by language: {site, key}; null: none, or not fetched since then"),
    sa.Column("seasons", JSONB, comment="of a series: [{season, episodes, year}]; null: not fetched since then"),
    one_of("media_type", MEDIA_TYPES),
    sa.UniqueConstraint("media_type", "tmdb_id"),
    comment="Titles that are not in the library and were suggested to somebody, or seen elsewhere; details from TMDb.",
)

discovery_lists = sa.Table(
    "discovery_lists",
    metadata,
    sa.Column("request", sa.Text, primary_key=True, comment="such as movie/discover?genres=18/2"),
    sa.Column("media_type", sa.Text, nullable=False),
    sa.Column("entries", JSONB, nullable=False, comment="in the list's order, as far as the service tells"),
    sa.Column("read_at", Moment, nullable=False),
    one_of("media_type", MEDIA_TYPES),
    comment="Lists of titles that TMDb returned, so that no run asks twice a day.",
)

discovery_candidates = sa.Table(
    "discovery_candidates",
    metadata,
    sa.Column("user_id", sa.Text, sa.ForeignKey("users.user_id"), primary_key=True),
    sa.Column("media_type", sa.Text, primary_key=True),
    sa.Column("rank", sa.SmallInteger, primary_key=True),
    sa.Column("work_id", sa.BigInteger, sa.ForeignKey("works.work_id"), nullable=False, info=STAYS_WITH_WORK),
    sa.Column("score", sa.REAL, nullable=False, comment="0-1"),
    sa.Column("components", JSONB, nullable=False, comment="components of the score"),
    sa.Column("because", sa.ARRAY(sa.BigInteger), nullable=False, comment="the liked works that explain it"),
    sa.Column(
        "listed_since",
        sa.Date,
        nullable=False,
        comment="the first of the days on which it has been on the list without a break",
    ),
    sa.Column("generated_at", Moment, nullable=False, server_default=sa.text("now()")),
    one_of("media_type", MEDIA_TYPES),
    between("rank", 1),
    between("score", 0, 1),
    sa.UniqueConstraint("user_id", "work_id"),
    comment="The current suggestions for each user of titles that are not in the library, replaced as a whole.",
)

seerr_requests = sa.Table(
    "seerr_requests",
    metadata,
    sa.Column("user_id", sa.Text, sa.ForeignKey("users.user_id"), primary_key=True),
    sa.Column("work_id", sa.BigInteger, sa.ForeignKey("works.work_id"), primary_key=True, info=STAYS_WITH_WORK),
    sa.Column("media_type", sa.Text, nullable=False),
    sa.Column("tmdb_id", sa.BigInteger, nullable=False),
    sa.Column("title", sa.Text, nullable=False),
    sa.Column("request_id", sa.BigInteger, comment="on Seerr; null: not confirmed"),
    sa.Column("state", sa.Text, nullable=False, comment="sending: the answer is not known yet; else what Seerr says"),
    sa.Column("seasons", sa.SmallInteger, comment="requested, of a series"),
    sa.Column("requested_at", Moment, nullable=False),
    sa.Column("read_at", Moment, comment="since when Seerr is known to say so"),
    sa.Column("detail", sa.Text, comment="Seerr's words"),
    one_of("media_type", MEDIA_TYPES),
    one_of("state", REQUEST_STATES),
    comment="Requests sent to Seerr for a user, and what became of them. Never deleted: none is sent twice.",
)
