"""All tables of the product's database, each declared in the room of its capability."""

import aperture_dagster.alerts
import aperture_dagster.catalogue.tables
import aperture_dagster.discovery.tables
import aperture_dagster.enrichment.tables
import aperture_dagster.evening.tables
import aperture_dagster.facts
import aperture_dagster.members.tables
import aperture_dagster.newsletter
import aperture_dagster.popularity.tables
import aperture_dagster.postgres.changes
import aperture_dagster.prices.tables
import aperture_dagster.progress
import aperture_dagster.publishing.disk.tables
import aperture_dagster.publishing.tables
import aperture_dagster.ratings.tables
import aperture_dagster.taste.tables
import aperture_dagster.trakt.tables
import aperture_dagster.worklist.tables
from aperture_dagster.postgres.tables import metadata as metadata
