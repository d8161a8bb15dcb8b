"""The catalogue: what the media server has, who uses it, and who watched what, as read from the server."""
