"""The database as a server: embedded or given, connections, locks, bulk writes, migrations, backups.

It knows no table of a capability.
"""
