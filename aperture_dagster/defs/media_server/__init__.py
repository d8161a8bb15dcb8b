"""What the media server has: its users, its films, series and episodes, and who watched what."""

from aperture_dagster.defs.groups import Group
from aperture_dagster.defs.media_server.catalogue import episodes, movies, series
from aperture_dagster.defs.media_server.checks import CHECKS
from aperture_dagster.defs.media_server.history import watch_history
from aperture_dagster.defs.media_server.jobs import JOBS
from aperture_dagster.defs.media_server.people import users
from aperture_dagster.defs.media_server.server import media_server

GROUP = Group(assets=(media_server, users, movies, series, episodes, watch_history), checks=CHECKS, jobs=JOBS)

__all__ = ["GROUP", "episodes", "media_server", "movies", "series", "users", "watch_history"]
