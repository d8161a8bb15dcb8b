"""The outside world: one transport, and one thin typed client per service. Does not know ranking."""
