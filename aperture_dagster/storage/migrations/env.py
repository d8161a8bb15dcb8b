"""Alembic's environment: runs migrations on the connection that holds the schema lock."""

from alembic import context

from aperture_dagster.storage.tables import metadata

connection = context.config.attributes["connection"]
context.configure(connection=connection, target_metadata=metadata, transaction_per_migration=True)
with context.begin_transaction():
    context.run_migrations()
