"""All tables and views of the product's database.

The first migration creates what is declared; a test compares the declarations with what all migrations make. Metadata,
histories and lists refer to *works*: films and series themselves, independent of the copies on the server and their
ids. ``titles`` and ``episodes`` are the server's items, and share one sequence of ids.
"""

from aperture_dagster.schema.tables import metadata
from aperture_dagster.schema.views import VIEWS

__all__ = ["VIEWS", "metadata"]
