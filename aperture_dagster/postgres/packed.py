"""Queries of many numbers: the database packs them, and numpy reads them, without a Python object for each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection

from aperture_dagster.postgres.bulk import driver_cursor

if TYPE_CHECKING:
    import numpy as np

# Rows that the database packs into one value, which may not exceed a gigabyte.
BLOCK = 8_192
# By kind: the function that makes bytes of a value, and the type as which numpy reads them.
INTEGER, DOUBLE = ("int8send", ">i8"), ("float8send", ">f8")


def read_packed(
    connection: Connection,
    query: str,
    columns: Mapping[str, tuple[str, Any]],
    parameters: Sequence[Any] | Mapping[str, Any] = (),
) -> Iterator[np.ndarray]:
    """Yield the rows of a query in blocks, as structured arrays, whose order is arbitrary.

    Args:
        connection: inside a transaction.
        query: a SELECT with placeholders of the driver (``%s``, or ``%(name)s``). No value may be null.
        columns: for each column that is read the function that packs it, and numpy's type of what that returns.
        parameters: the values of the placeholders.
    """
    import numpy as np

    packed = " || ".join(f'{function}("{name}")' for name, (function, _) in columns.items())
    statement = (
        f"SELECT string_agg({packed}, ''::bytea) FROM (SELECT *, row_number() OVER () / {BLOCK} AS block "
        f"FROM ({query}) q) numbered GROUP BY block"
    )
    dtype = np.dtype([(name, kind) for name, (_, kind) in columns.items()])
    with driver_cursor(connection, binary=True) as cursor:
        for (block,) in cursor.stream(statement, parameters or None):
            yield np.frombuffer(block, dtype=dtype)
