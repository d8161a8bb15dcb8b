"""What exists and when it is made, a file or folder per group. Assets are thin: read, compute, write, report."""

import warnings

import dagster as dg

# The beta features that the project relies on, each knowingly; any other still warns.
BETA = ("backfill_policy", "CodeReferencesMetadataValue", "LocalFileCodeReference")
for feature in BETA:
    warnings.filterwarnings("ignore", message=f".*`{feature}`", category=dg.BetaWarning)
