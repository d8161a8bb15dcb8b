"""What all tables share: the collection they are in, how constraints are named, and how a moment is kept."""

from __future__ import annotations

from sqlalchemy import BigInteger, DateTime, MetaData, Sequence

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "pk": "pk_%(table_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
    }
)
Moment = DateTime(timezone=True)
item_ids = Sequence("item_id_seq", metadata=metadata, data_type=BigInteger)
