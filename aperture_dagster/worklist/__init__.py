"""The engine that works through a list of items to ask a service about."""
