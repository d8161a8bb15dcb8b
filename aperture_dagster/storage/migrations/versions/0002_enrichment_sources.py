"""OMDb, MDBList and studio logos; a work list that holds what waits, too; quotas, and what is known of services."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    _make_tables()
    _widen_work_list()
    _move_collections()
    _widen_view()


def _moment() -> sa.DateTime:
    return sa.DateTime(timezone=True)


def _updated_at() -> sa.Column:
    return sa.Column("updated_at", _moment(), nullable=False, server_default=sa.text("now()"))


def _work_id(table: str) -> tuple[sa.Column, sa.ForeignKeyConstraint, sa.PrimaryKeyConstraint]:
    return (
        sa.Column("work_id", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["work_id"], ["works.work_id"], name=op.f(f"fk_{table}_work_id")),
        sa.PrimaryKeyConstraint("work_id", name=op.f(f"pk_{table}")),
    )


def _make_tables() -> None:
    op.create_table(
        "quota",
        sa.Column("service", sa.Text(), nullable=False),
        sa.Column("day", sa.Date(), nullable=False, comment="UTC"),
        sa.Column("used", sa.Integer(), nullable=False),
        sa.Column("limit", sa.Integer(), nullable=False),
        _updated_at(),
        sa.PrimaryKeyConstraint("service", "day", name=op.f("pk_quota")),
        comment="Requests spent per service and day, all processes together.",
    )
    op.create_table(
        "services",
        sa.Column("service", sa.Text(), nullable=False),
        sa.Column("lent_at", _moment(), comment="when somebody last began to use it"),
        sa.Column(
            "returned_at",
            _moment(),
            comment="when they were done; earlier than lent_at: they were killed, or are at it",
        ),
        sa.Column(
            "sent_at", sa.ARRAY(_moment()), nullable=False, server_default=sa.text("'{}'"), comment="the last requests"
        ),
        sa.Column("batch_size", sa.Integer(), comment="the largest that it took, where it refused a larger one"),
        sa.Column("answered_at", _moment(), comment="when it last gave a good answer"),
        sa.Column("failing_since", _moment(), comment="null while it answers"),
        sa.Column("trouble", sa.Text(), comment="what it failed with last"),
        sa.PrimaryKeyConstraint("service", name=op.f("pk_services")),
        comment="What is remembered of an outside service from one run to the next.",
    )
    op.create_table(
        "omdb_ratings",
        *_work_id("omdb_ratings"),
        sa.Column("imdb_id", sa.Text(), nullable=False),
        sa.Column("imdb_rating", sa.REAL(), comment="0-10"),
        sa.Column("imdb_votes", sa.Integer()),
        sa.Column("rotten_tomatoes", sa.SmallInteger(), comment="0-100, critics"),
        sa.Column("metacritic", sa.SmallInteger(), comment="0-100"),
        sa.Column("awards", sa.Text(), comment="as OMDb words it"),
        sa.Column("award_wins", sa.Integer()),
        sa.Column("award_nominations", sa.Integer()),
        sa.Column("oscars_won", sa.SmallInteger()),
        sa.Column("oscar_nominations", sa.SmallInteger()),
        sa.Column("emmys_won", sa.SmallInteger()),
        sa.Column("emmy_nominations", sa.SmallInteger()),
        sa.Column("rated", sa.Text()),
        sa.Column("released", sa.Date()),
        sa.Column("runtime_minutes", sa.Integer()),
        sa.Column("box_office_dollars", sa.BigInteger()),
        _updated_at(),
        comment="What OMDb says of a work.",
    )
    op.create_table(
        "mdblist_scores",
        *_work_id("mdblist_scores"),
        sa.Column("score", sa.SmallInteger(), comment="0-100, MDBList's own"),
        sa.Column("score_average", sa.SmallInteger(), comment="0-100"),
        sa.Column("imdb_rating", sa.REAL(), comment="0-10"),
        sa.Column("imdb_votes", sa.Integer()),
        sa.Column("trakt", sa.REAL(), comment="0-100"),
        sa.Column("letterboxd", sa.REAL(), comment="0-5"),
        sa.Column("rotten_tomatoes", sa.REAL(), comment="0-100, critics"),
        sa.Column("rotten_tomatoes_audience", sa.REAL(), comment="0-100"),
        sa.Column("metacritic", sa.REAL(), comment="0-100"),
        sa.Column("metacritic_user", sa.REAL(), comment="0-10"),
        sa.Column("roger_ebert", sa.REAL(), comment="0-4"),
        sa.Column("tmdb_score", sa.REAL(), comment="0-100"),
        sa.Column("my_anime_list", sa.REAL(), comment="0-10"),
        sa.Column("keywords", sa.ARRAY(sa.Text()), nullable=False),
        sa.Column("streams", sa.ARRAY(sa.Text()), nullable=False),
        sa.Column("watch_providers", sa.ARRAY(sa.Text()), nullable=False),
        sa.Column("certification", sa.Text()),
        sa.Column("age_rating", sa.SmallInteger()),
        _updated_at(),
        comment="What MDBList says of a work: the scores of many sites, keywords, where it streams.",
    )
    op.create_table(
        "studio_logos",
        sa.Column("kind", sa.Text(), nullable=False, comment="company, network"),
        sa.Column("studio_id", sa.BigInteger(), autoincrement=False, nullable=False, comment="TMDb's"),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("titles", sa.Integer(), nullable=False, comment="in the library"),
        sa.Column("logo_path", sa.Text(), comment="TMDb's; null: it has none"),
        sa.Column("tried_path", sa.Text(), comment="the logo_path that was asked for last"),
        sa.Column("stored_path", sa.Text(), comment="the logo_path that the file was made from; null: no file yet"),
        sa.Column("file_name", sa.Text(), comment="below APERTURE_HOME/logos"),
        sa.Column("picture_kind", sa.Text(), comment="png, jpeg, svg: by content"),
        sa.Column("sha256", sa.Text()),
        sa.Column("bytes", sa.Integer()),
        sa.Column("shown_sha256", sa.Text(), comment="the picture that the media server was given"),
        _updated_at(),
        sa.PrimaryKeyConstraint("kind", "studio_id", name=op.f("pk_studio_logos")),
        comment="Companies and networks of the library's titles, and their logos.",
    )


def _widen_work_list() -> None:
    """Items of other kinds than works, and rows for what was never asked about."""
    op.drop_constraint("fk_fetches_work_id", "fetches", type_="foreignkey")
    op.drop_constraint("pk_fetches", "fetches", type_="primary")
    op.drop_index("ix_fetches_due", "fetches")
    op.alter_column("fetches", "work_id", new_column_name="item")
    op.create_table_comment(
        "fetches",
        "The work list of all enrichment: the last attempt per source and item, and when the next is due.",
        existing_comment="The work list of all enrichment: the last attempt per source and work, "
        "and when the next is due.",
    )
    op.alter_column(
        "fetches",
        "outcome",
        existing_type=sa.Text(),
        existing_nullable=False,
        comment="of the last attempt: ok, not_found, error; waiting: never asked",
        existing_comment="ok, not_found, error, quota",
    )
    op.alter_column("fetches", "attempted_at", existing_type=_moment(), nullable=True)
    op.add_column(
        "fetches",
        sa.Column("kind", sa.Text(), comment="movie, series: item is a work; collection, company, network"),
    )
    op.add_column("fetches", sa.Column("added_at", _moment(), comment="when it came into the library"))
    op.add_column(
        "fetches",
        sa.Column("found_id", sa.BigInteger(), comment="the source's own id, where it had to be looked for"),
    )
    op.execute(
        "UPDATE fetches f SET kind = w.media_type, added_at = (SELECT min(t.added_at) FROM titles t "
        "WHERE t.work_id = w.work_id), found_id = CASE WHEN w.tmdb_id IS NULL THEN "
        "(SELECT m.tmdb_id FROM tmdb_metadata m WHERE m.work_id = w.work_id) END FROM works w WHERE w.work_id = f.item"
    )
    op.alter_column("fetches", "kind", existing_type=sa.Text(), nullable=False)
    op.create_primary_key(op.f("pk_fetches"), "fetches", ["source", "kind", "item"])
    op.create_index(
        "ix_fetches_waiting",
        "fetches",
        ["source", "kind", sa.text("added_at DESC NULLS LAST"), "item"],
        postgresql_where=sa.text("outcome = 'waiting'"),
    )
    op.create_index(
        "ix_fetches_due",
        "fetches",
        ["source", "kind", "due_at", "item"],
        postgresql_where=sa.text("outcome <> 'waiting'"),
    )
    op.create_index("ix_fetches_item", "fetches", ["item"])
    op.create_index(
        "ix_tmdb_metadata_collection_id",
        "tmdb_metadata",
        ["collection_id"],
        postgresql_where=sa.text("collection_id IS NOT NULL"),
    )


def _move_collections() -> None:
    """When collections are due is decided where it is decided for all."""
    op.execute(
        "INSERT INTO fetches (source, kind, item, outcome, attempts, fetched_at, attempted_at, due_at) "
        "SELECT 'tmdb', 'collection', collection_id, 'ok', 0, fetched_at, fetched_at, fetched_at + interval '30 days' "
        "FROM tmdb_collections"
    )
    op.alter_column("tmdb_collections", "fetched_at", new_column_name="updated_at")


def _widen_view() -> None:
    for name, kind, comment in (
        ("imdb_rating", sa.Float(), "0-10"),
        ("imdb_votes", sa.Integer(), None),
        ("rotten_tomatoes", sa.Float(), "0-100, critics"),
        ("rotten_tomatoes_audience", sa.Float(), "0-100"),
        ("metacritic", sa.Float(), "0-100"),
        ("letterboxd", sa.Float(), "0-5"),
        ("trakt", sa.Float(), "0-100"),
        ("mdblist_score", sa.Float(), "0-100"),
        ("awards", sa.Text(), None),
        ("award_wins", sa.Integer(), None),
        ("award_nominations", sa.Integer(), None),
        ("oscars_won", sa.Integer(), None),
    ):
        op.add_column("enriched_metadata", sa.Column(name, kind, comment=comment))
    op.add_column(
        "enriched_metadata",
        sa.Column("streams", sa.ARRAY(sa.Text()), nullable=False, server_default=sa.text("'{}'")),
    )
