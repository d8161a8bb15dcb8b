"""The web program in front of people: Dagster's UI, which has no login, behind a guard against other websites."""
