"""A stand-in for a run: it sends the key to the media server in its configuration."""

from __future__ import annotations

import urllib.error
import urllib.request
from contextlib import suppress

from dagster._core.launcher import LaunchRunContext
from dagster._core.launcher.sync_in_memory_run_launcher import SyncInMemoryRunLauncher


class KeySendingLauncher(SyncInMemoryRunLauncher):
    """Launches runs that end at once."""

    def launch_run(self, context: LaunchRunContext) -> None:
        """Send the key, and let the run end."""
        run = context.dagster_run
        given = run.run_config.get("ops", {}).get("movies", {}).get("config", {})
        if "address" in given:
            request = urllib.request.Request(given["address"], headers={"X-Emby-Token": "key"})
            with suppress(urllib.error.HTTPError):
                urllib.request.urlopen(request).close()
        self._instance.report_run_canceled(run)
