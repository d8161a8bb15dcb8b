"""HTTP to outside services: one transport, with retries, limits, deadlines and redaction, for all clients."""
