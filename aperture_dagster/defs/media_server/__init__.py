"""What the media server has: its users, its films, series and episodes, and who watched what."""

from aperture_dagster.defs.media_server.catalogue import episodes, movies, series
from aperture_dagster.defs.media_server.history import watch_history
from aperture_dagster.defs.media_server.people import users
from aperture_dagster.defs.media_server.server import media_server

__all__ = ["episodes", "media_server", "movies", "series", "users", "watch_history"]
