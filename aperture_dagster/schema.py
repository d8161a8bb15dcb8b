"""All tables of the product's database, each declared in the room of its capability.

Changes require a migration; a test compares the two. Metadata, histories and lists refer to *works*: films and series
themselves, independent of the copies on the server and their ids. ``titles`` and ``episodes`` are the server's items,
and share one sequence of ids.
"""

import aperture_dagster.alerts
import aperture_dagster.catalogue.tables
import aperture_dagster.discovery.tables
import aperture_dagster.enrichment.tables
import aperture_dagster.newsletter
import aperture_dagster.popularity.queries
import aperture_dagster.postgres.tables
import aperture_dagster.prices
import aperture_dagster.publishing.tables
import aperture_dagster.ratings.in_force
import aperture_dagster.taste.tables
from aperture_dagster.catalogue.tables import VIEWS
from aperture_dagster.postgres.tables import metadata

__all__ = ["VIEWS", "metadata"]
