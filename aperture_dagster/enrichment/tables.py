"""Metadata from other services: a table per source, and the merged view.

The table of a title source has a row per work and the source's name in ``info["source"]``.
"""

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB

from aperture_dagster.model import MEDIA_TYPES
from aperture_dagster.postgres.tables import STAYS_WITH_WORK, Moment, between, metadata, one_of

STUDIO_KINDS = ("company", "network")

tmdb_metadata = sa.Table(
    "tmdb_metadata",
    metadata,
    sa.Column("work_id", sa.BigInteger, sa.ForeignKey("works.work_id"), primary_key=True, info=STAYS_WITH_WORK),
    sa.Column("tmdb_id", sa.BigInteger, nullable=False),
    sa.Column("imdb_id", sa.Text),
    sa.Column("tvdb_id", sa.BigInteger),
    sa.Column("title", sa.Text),
    sa.Column("original_title", sa.Text),
    sa.Column("overview", sa.Text),
    sa.Column("tagline", sa.Text),
    sa.Column("status", sa.Text),
    sa.Column("release_date", sa.Date),
    sa.Column("runtime_minutes", sa.Integer),
    sa.Column("genres", sa.ARRAY(sa.Text), nullable=False),
    sa.Column("keywords", sa.ARRAY(sa.Text), nullable=False),
    sa.Column("cast", JSONB, nullable=False, comment="first 15: [{name, character}]"),
    sa.Column("directors", sa.ARRAY(sa.Text), nullable=False),
    sa.Column("creators", sa.ARRAY(sa.Text), nullable=False),
    sa.Column("writers", sa.ARRAY(sa.Text), nullable=False),
    sa.Column("companies", JSONB, nullable=False, comment="[{id, name, logo_path}]"),
    sa.Column("networks", JSONB, nullable=False, comment="[{id, name, logo_path}]"),
    sa.Column("countries", sa.ARRAY(sa.Text), nullable=False),
    sa.Column("original_language", sa.Text),
    sa.Column("vote_average", sa.Float),
    sa.Column("vote_count", sa.Integer),
    sa.Column("popularity", sa.Float),
    sa.Column("poster_path", sa.Text),
    sa.Column("collection_id", sa.BigInteger),
    sa.Column("collection_name", sa.Text),
    sa.Column("next_episode", JSONB),
    sa.Column("recommended_tmdb_ids", sa.ARRAY(sa.BigInteger), nullable=False),
    sa.Column("similar_tmdb_ids", sa.ARRAY(sa.BigInteger), nullable=False),
    sa.Column("trailers", JSONB, comment="by language: {site, key}; null: none, or not fetched since then"),
    sa.Column(
        "trait_ids", JSONB, comment="ids on TMDb: {genres, keywords, people: {name: id}}; null: not fetched since then"
    ),
    sa.Column("updated_at", Moment, nullable=False, server_default=sa.text("now()")),
    sa.Index("ix_tmdb_metadata_collection_id", "collection_id", postgresql_where=sa.text("collection_id IS NOT NULL")),
    info={"source": "tmdb"},
    comment="Metadata of a work from TMDb.",
)

omdb_ratings = sa.Table(
    "omdb_ratings",
    metadata,
    sa.Column("work_id", sa.BigInteger, sa.ForeignKey("works.work_id"), primary_key=True, info=STAYS_WITH_WORK),
    sa.Column("imdb_rating", sa.REAL, comment="0-10"),
    sa.Column("imdb_votes", sa.Integer),
    sa.Column("rotten_tomatoes", sa.SmallInteger, comment="0-100, critics"),
    sa.Column("metacritic", sa.SmallInteger, comment="0-100"),
    sa.Column("awards", sa.Text, comment="text from OMDb"),
    sa.Column("award_wins", sa.Integer),
    sa.Column("award_nominations", sa.Integer),
    sa.Column("oscars_won", sa.SmallInteger),
    sa.Column("rated", sa.Text),
    sa.Column("updated_at", Moment, nullable=False, server_default=sa.text("now()")),
    info={"source": "omdb"},
    comment="Ratings and awards of a work from OMDb.",
)

mdblist_scores = sa.Table(
    "mdblist_scores",
    metadata,
    sa.Column("work_id", sa.BigInteger, sa.ForeignKey("works.work_id"), primary_key=True, info=STAYS_WITH_WORK),
    sa.Column("score", sa.SmallInteger, comment="0-100, computed by MDBList"),
    sa.Column("imdb_rating", sa.REAL, comment="0-10"),
    sa.Column("imdb_votes", sa.Integer),
    sa.Column("trakt", sa.REAL, comment="0-100"),
    sa.Column("letterboxd", sa.REAL, comment="0-5"),
    sa.Column("rotten_tomatoes", sa.REAL, comment="0-100, critics"),
    sa.Column("rotten_tomatoes_audience", sa.REAL, comment="0-100"),
    sa.Column("metacritic", sa.REAL, comment="0-100"),
    sa.Column("keywords", sa.ARRAY(sa.Text), nullable=False),
    sa.Column("streams", sa.ARRAY(sa.Text), nullable=False),
    sa.Column("certification", sa.Text),
    sa.Column("updated_at", Moment, nullable=False, server_default=sa.text("now()")),
    info={"source": "mdblist"},
    comment="Scores of many sites, keywords and streaming providers of a work from MDBList.",
)

studio_logos = sa.Table(
    "studio_logos",
    metadata,
    sa.Column("kind", sa.Text, primary_key=True, comment="company, network"),
    sa.Column("studio_id", sa.BigInteger, primary_key=True, autoincrement=False, comment="on TMDb"),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("titles", sa.Integer, nullable=False, comment="in the library"),
    sa.Column("logo_path", sa.Text, comment="on TMDb; null: none"),
    sa.Column("tried_path", sa.Text, comment="the logo_path of the last attempt"),
    sa.Column("stored_path", sa.Text, comment="the logo_path of the stored file; null: no file yet"),
    sa.Column("file_name", sa.Text, comment="below APERTURE_HOME/logos"),
    sa.Column("picture_kind", sa.Text, comment="png, jpeg or svg, by content"),
    sa.Column("sha256", sa.Text),
    sa.Column("bytes", sa.Integer),
    sa.Column("shown_sha256", sa.Text, comment="the picture last uploaded to the media server"),
    sa.Column("updated_at", Moment, nullable=False, server_default=sa.text("now()")),
    one_of("kind", STUDIO_KINDS),
    between("titles", 0),
    comment="Companies and networks of the library's titles, and their logos.",
)

enriched_metadata = sa.Table(
    "enriched_metadata",
    metadata,
    sa.Column("work_id", sa.BigInteger, sa.ForeignKey("works.work_id"), primary_key=True, info=STAYS_WITH_WORK),
    sa.Column("media_type", sa.Text, nullable=False),
    sa.Column("title", sa.Text, nullable=False),
    sa.Column("original_title", sa.Text),
    sa.Column("year", sa.Integer),
    sa.Column("tmdb_id", sa.BigInteger),
    sa.Column("imdb_id", sa.Text),
    sa.Column("tvdb_id", sa.BigInteger),
    sa.Column("overview", sa.Text),
    sa.Column("tagline", sa.Text),
    sa.Column("genres", sa.ARRAY(sa.Text), nullable=False),
    sa.Column("keywords", sa.ARRAY(sa.Text), nullable=False),
    sa.Column("cast", sa.ARRAY(sa.Text), nullable=False),
    sa.Column("directors", sa.ARRAY(sa.Text), nullable=False),
    sa.Column("creators", sa.ARRAY(sa.Text), nullable=False),
    sa.Column("companies", sa.ARRAY(sa.Text), nullable=False),
    sa.Column("networks", sa.ARRAY(sa.Text), nullable=False),
    sa.Column("countries", sa.ARRAY(sa.Text), nullable=False),
    sa.Column("language", sa.Text),
    sa.Column("official_rating", sa.Text),
    sa.Column("runtime_minutes", sa.Integer),
    sa.Column("release_date", sa.Date),
    sa.Column("status", sa.Text),
    sa.Column("vote_average", sa.Float, comment="0-10"),
    sa.Column("vote_count", sa.Integer),
    sa.Column("popularity", sa.Float),
    sa.Column("collection_name", sa.Text),
    sa.Column("poster_path", sa.Text),
    sa.Column("next_episode", JSONB, comment="of a series: {season, number, title, air_date}"),
    sa.Column("imdb_rating", sa.Float, comment="0-10"),
    sa.Column("imdb_votes", sa.Integer),
    sa.Column("rotten_tomatoes", sa.Float, comment="0-100, critics"),
    sa.Column("rotten_tomatoes_audience", sa.Float, comment="0-100"),
    sa.Column("metacritic", sa.Float, comment="0-100"),
    sa.Column("letterboxd", sa.Float, comment="0-5"),
    sa.Column("trakt", sa.Float, comment="0-100"),
    sa.Column("mdblist_score", sa.Float, comment="0-100"),
    sa.Column("awards", sa.Text),
    sa.Column("award_wins", sa.Integer),
    sa.Column("award_nominations", sa.Integer),
    sa.Column("oscars_won", sa.Integer),
    sa.Column("streams", sa.ARRAY(sa.Text), nullable=False),
    sa.Column("trailers", JSONB, comment="by language: {site, key}"),
    sa.Column("sources", JSONB, nullable=False, comment="column -> source of its value"),
    sa.Column("updated_at", Moment, nullable=False, server_default=sa.text("now()")),
    one_of("media_type", MEDIA_TYPES),
    # What else somebody made, as `read_shared` asks.
    *(
        sa.Index(f"ix_enriched_metadata_{name}", name, postgresql_using="gin")
        for name in ("cast", "directors", "creators")
    ),
    info={"derived": True},
    comment="Merged metadata of a work, with a defined precedence of sources per column, and the source of each value.",
)

merges = sa.Table(
    "merges",
    metadata,
    sa.Column("work_id", sa.BigInteger, sa.ForeignKey("works.work_id"), primary_key=True, info=STAYS_WITH_WORK),
    sa.Column("made_from", sa.Text, nullable=False, comment="merge rules and versions of all source rows"),
    info={"derived": True},
    comment="The input of the last merge of each row of enriched_metadata.",
)
