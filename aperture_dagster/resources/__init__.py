"""What the product talks to: one transport, and one thin typed client a service. Knows nothing of ranking."""
