"""What differs between versions of the media servers in libraries, scans and user data.

Jellyfin: read in the source of 10.9.11, 10.10.7, 10.11.0 to 10.11.11 and 12.0-rc5. Emby is closed source: that it reads
the NFO files of locked items again, and shares user data between items with a common provider id, is assumed.
"""

from __future__ import annotations

import re
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ServerRules:
    """The rules of one server. ``version`` is that of the server itself, Jellyfin's or Emby's."""

    emby: bool
    version: tuple[int, ...]

    def _jellyfin_from(self, *version: int) -> bool:
        return not self.emby and self.version >= version

    @property
    def validates_on_create(self) -> bool:
        """Whether a new library has its id at once, even without a scan (``LibraryManager.AddVirtualFolder``)."""
        return self.emby or self._jellyfin_from(10, 11)

    @property
    def adds_paths_of_options(self) -> bool:
        """Whether new paths in options become locations (``UpdateLibraryOptions``)."""
        return self._jellyfin_from(10, 11, 6)

    @property
    def substring_conflicts(self) -> bool:
        """Whether a library is a duplicate when its path contains another's (``NormalizeRootPathList``)."""
        return not self.emby and self.version < (12, 1)

    @property
    def removes_on_any_scan(self) -> bool:
        """Whether any scan deletes the items of removed libraries, not only the one that the removal asked for."""
        return self.emby or self._jellyfin_from(12)

    @property
    def plays_local_strm(self) -> bool:
        """Whether a local path in a STRM file plays (``ProbeProvider.FetchShortcutInfo``)."""
        return self.emby or self.version < (10, 11, 7)

    @property
    def keeps_relative_strm(self) -> bool:
        """Whether such a path may be relative."""
        return self.emby

    @property
    def nfo_tolerance(self) -> float:
        """Seconds by which an NFO file must be newer than the item (``BaseNfoProvider.HasChanged``)."""
        return 60.0 if self._jellyfin_from(10, 11, 3) else 0.0

    @property
    def skips_nfo_of_locked(self) -> bool:
        """Whether a locked item's NFO file is not read again (``MetadataService.RefreshWithProviders``)."""
        return self._jellyfin_from(10, 9, 4)

    @property
    def full_refresh_only_fills(self) -> bool:
        """Whether a full refresh leaves values that exist, unless all are to be replaced."""
        return self._jellyfin_from(10, 11)

    @property
    def dates_links_by_target(self) -> bool:
        """Whether a link's date is that of its target."""
        return self._jellyfin_from(10, 11)

    @property
    def resets_date_of_changed_files(self) -> bool:
        """Whether a newer file gives its item a new date."""
        return self._jellyfin_from(10, 11)

    @property
    def shares_user_data(self) -> bool:
        """Whether items with a common key share user data (rows by key), rather than each having its own."""
        return self.emby or self.version < (10, 11)

    @property
    def groups_series(self) -> bool:
        """Whether series with a common key become one, across libraries (``Series.CreatePresentationUniqueKey``)."""
        return self._jellyfin_from(12)

    @property
    def sorts_as_named(self) -> bool:
        """Whether a forced sort name loses articles and characters, as a name does."""
        return self._jellyfin_from(12)

    @property
    def reads_short_ids(self) -> bool:
        """Whether ids in names may lack ``id``, as in ``[tmdb-603]``, and be in other brackets."""
        return self._jellyfin_from(12)


def version_numbers(version: str) -> tuple[int, ...]:
    """Return the numbers of a version such as ``10.11.3``; ``12.0-rc5`` counts as 12.0."""
    return tuple(int(number) for number in re.findall(r"\d+", version.partition("-")[0]))
