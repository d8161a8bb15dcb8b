"""Settings of housekeeping: how long records of the past are kept."""

from pydantic import PositiveInt

from aperture_dagster.settings.types import SettingsGroup


class HousekeepingSettings(SettingsGroup):
    """Housekeeping. Plays, ratings, requests and Top Picks are never deleted, nor is the latest state of anything."""

    keep_logs_days: PositiveInt = 30
    """Days for which the log of each run is kept, and what its steps printed: long enough to look into a fault that was
    noticed weeks later.
    """
    keep_runs_days: PositiveInt = 90
    """Days for which runs, results of checks and past materializations (the plots on an asset's page) are kept: a
    season, in which trends show. Never shorter than the logs.
    """
    databases_limit_mb: PositiveInt = 2000
    """Megabytes of both databases together above which a check warns."""

    @property
    def kept_runs_days(self) -> int:
        """Days for which runs are kept: no log outlives its run."""
        return max(self.keep_runs_days, self.keep_logs_days)
