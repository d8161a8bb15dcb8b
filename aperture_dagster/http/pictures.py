"""Pictures of a service: fetched when somebody looks at them, and kept in memory for a while."""

from __future__ import annotations

import hashlib
import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, NamedTuple, TypeVar

from aperture_dagster.http.errors import BadAnswer, NotFound, ServiceError, ServiceFailed, ServiceUnavailable
from aperture_dagster.model.errors import OperatorError

_LOG = logging.getLogger(__name__)
KEPT_BYTES = 10_000_000
MISSING_SECONDS = 3600.0
"""How long a picture that the service does not have is not asked for again."""
SILENT_SECONDS = 30.0
"""How long nothing is asked of a service that did not answer in time, and a picture that it could not send."""
MOST_MISSING = 5_000
K = TypeVar("K", bound=Hashable)


class KeptPicture(NamedTuple):
    """A picture as pages show it."""

    content: bytes
    media_type: str

    @property
    def tag(self) -> str:
        """A name of the content, for browsers that have it."""
        return f'"{hashlib.sha256(self.content).hexdigest()[:24]}"'


class KeptPictures(Generic[K]):
    """Fetches pictures, keeps the last ones in memory, and remembers for a while what failed.

    Args:
        fetch: fetches the picture of a key; returns None, or raises ServiceError or OperatorError, without one.
        now: seconds of a clock that never goes back.
        kept_bytes: how much is kept.
    """

    def __init__(
        self,
        fetch: Callable[[K], KeptPicture | None],
        now: Callable[[], float] = time.monotonic,
        *,
        kept_bytes: int = KEPT_BYTES,
    ) -> None:
        self._fetch, self._now, self._most = fetch, now, kept_bytes
        self._lock = threading.Lock()
        self._kept: OrderedDict[K, KeptPicture] = OrderedDict()
        self._missing: OrderedDict[K, float] = OrderedDict()
        self._silent_until = -SILENT_SECONDS

    @property
    def is_silent(self) -> bool:
        """Whether the service did not answer a moment ago."""
        return self._now() < self._silent_until

    def kept(self, key: K) -> KeptPicture | None:
        """Return a picture if it is in memory."""
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
            return self._kept.get(key)

    def is_missing(self, key: K) -> bool:
        """Tell whether the service had no such picture, or did not answer, a moment ago."""
        return self.is_silent or self._now() < self._missing.get(key, self._silent_until)

    def get(self, key: K) -> KeptPicture | None:
        """Return a picture; None if the service does not have it or does not answer."""
        picture = self.kept(key)
        if picture is not None or self.is_missing(key):
            return picture
        again_after = MISSING_SECONDS
        try:
            picture = self._fetch(key)
        except (NotFound, BadAnswer):
            pass
        except (ServiceError, OperatorError) as error:
            _LOG.info("a picture is missing: %s", error)
            again_after = SILENT_SECONDS
            if isinstance(error, ServiceUnavailable) and not isinstance(error, ServiceFailed):
                # Others would wait as long.
                self._silent_until = self._now() + SILENT_SECONDS
        with self._lock:
            if picture is None:
                self._missing[key] = self._now() + again_after
                while len(self._missing) > MOST_MISSING:
                    self._missing.popitem(last=False)
                return None
            self._kept[key] = picture
            while sum(len(kept.content) for kept in self._kept.values()) > self._most:
                self._kept.popitem(last=False)
        return picture
