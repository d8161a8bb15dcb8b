"""What other people watched together, where the operator provides it."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from aperture_dagster.resources.errors import ServiceError
from aperture_dagster.storage.files import FileError
from aperture_dagster.wording import sentence

if TYPE_CHECKING:
    import pandas as pd

    from aperture_dagster.ranking.crowd import Crowd
    from aperture_dagster.settings import Settings


def read_configured_crowd(log: logging.Logger, settings: Settings, items: pd.DataFrame) -> Crowd | None:
    """Read what other people watched together, as far as it is in ``items``, if the operator provides it.

    A folder or table that cannot be used costs only the crowd: a warning says why, and the lists are made without it.
    """
    # pandas doubles the time that every `dagster` command takes to start.
    from aperture_dagster.sources.crowd import crowd_on, load_crowd

    try:
        found = load_crowd(settings)
    except (ServiceError, FileError) as error:
        log.warning(f"{sentence(error)} The lists are made without what other people watched.")
        return None
    if found is None:
        return None
    crowd = crowd_on(found, items)
    known = len(set(crowd.sources.tolist()))
    log.info(f"{found.header.people:,} people from outside; they know {known:,} films of these.")
    return crowd
