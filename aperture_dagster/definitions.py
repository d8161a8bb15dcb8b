"""What Dagster loads."""

import gc

from aperture_dagster.build import build_definitions, look_for_garbage_rarely
from aperture_dagster.defs import with_added

defs = with_added(build_definitions())
# It stays until the process ends: a run that reads many rows would look through all of it for garbage again and again.
gc.freeze()
look_for_garbage_rarely()
