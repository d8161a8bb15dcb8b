"""Parts of ``simulated_week.py``: Dagster's daemons by a simulated clock, a household, and figures."""
