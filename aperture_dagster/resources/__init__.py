"""Access to external services: one transport, and one thin typed client per service. Independent of the ranking."""
