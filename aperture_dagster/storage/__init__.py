"""The database remembers: tables, migrations, and the queries, a group at a time. Knows nothing of Dagster."""
