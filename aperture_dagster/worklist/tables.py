"""The work lists, and what is known of the services between runs: whether they answer, and what is left of the day."""

import sqlalchemy as sa

from aperture_dagster.model import MEDIA_TYPES
from aperture_dagster.postgres.tables import NAMES_USERS, Moment, between, metadata, one_of

KINDS = (*MEDIA_TYPES, "company", "network", "seen")
"""Of items that services are asked about."""

fetches = sa.Table(
    "fetches",
    metadata,
    sa.Column("source", sa.Text, primary_key=True),
    sa.Column(
        "kind",
        sa.Text,
        primary_key=True,
        comment="movie, series: item is a work; company, network; seen: a row of seen_elsewhere",
    ),
    sa.Column("item", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column(
        "outcome", sa.Text, nullable=False, comment="last attempt: ok, not_found, error; waiting: no attempt yet"
    ),
    sa.Column("attempts", sa.SmallInteger, nullable=False, comment="consecutive failures"),
    sa.Column("added_at", Moment, comment="when it was added to the library"),
    sa.Column("fetched_at", Moment, comment="last success"),
    sa.Column("attempted_at", Moment),
    sa.Column("due_at", Moment, nullable=False),
    sa.Column("found_id", sa.BigInteger, comment="the source's id, if it had to be looked up"),
    sa.Column("language", sa.Text, comment="of the last answer, if the source has several; due in another one"),
    sa.Column("asked_again", sa.Text, comment="named, all: the operator wants it now, though it is not due"),
    sa.Column("detail", sa.Text),
    one_of("kind", KINDS),
    one_of("outcome", ("ok", "not_found", "error", "waiting")),
    one_of("asked_again", ("named", "all")),
    between("attempts", 0),
    sa.Index(
        "ix_fetches_waiting",
        "source",
        "kind",
        sa.text("added_at DESC NULLS LAST"),
        "item",
        postgresql_where=sa.text("outcome = 'waiting'"),
    ),
    sa.Index("ix_fetches_due", "source", "kind", "due_at", "item", postgresql_where=sa.text("outcome <> 'waiting'")),
    sa.Index("ix_fetches_item", "item"),
    comment="The work lists of all sources: the last attempt per item, and when the next is due.",
)

services = sa.Table(
    "services",
    metadata,
    sa.Column("service", sa.Text, primary_key=True),
    sa.Column("batch_size", sa.Integer, comment="largest accepted batch, if a larger one was refused"),
    sa.Column("answered_at", Moment, comment="last success"),
    sa.Column("failing_since", Moment, comment="first of the current failures; null while it works"),
    sa.Column("trouble", sa.Text, info=NAMES_USERS, comment="the last error"),
    sa.Column("asked_again_by", sa.Text, comment="the last run that wanted answers again although they are not due"),
    between("batch_size", 1),
    comment="State of external services between runs.",
)

quota = sa.Table(
    "quota",
    metadata,
    sa.Column("service", sa.Text, primary_key=True),
    sa.Column("day", sa.Date, primary_key=True, comment="UTC"),
    sa.Column("used", sa.Integer, nullable=False),
    sa.Column("limit", sa.Integer, nullable=False),
    sa.Column("updated_at", Moment, nullable=False, server_default=sa.text("now()")),
    comment="Requests per service and day, by all processes.",
)
