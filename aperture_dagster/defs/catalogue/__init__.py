"""What the media server has: its users, its films, series and episodes, and who watched what."""

from aperture_dagster.defs.catalogue.assets import episodes, media_server, movies, series, users
from aperture_dagster.defs.catalogue.checks import CHECKS
from aperture_dagster.defs.catalogue.history import watch_history
from aperture_dagster.defs.catalogue.jobs import JOBS
from aperture_dagster.defs.jobs import Group

GROUP = Group(assets=(media_server, users, movies, series, episodes, watch_history), checks=CHECKS, jobs=JOBS)

__all__ = ["GROUP", "episodes", "media_server", "movies", "series", "users", "watch_history"]
