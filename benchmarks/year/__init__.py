"""Parts of ``simulated_year.py``: the records of a measured day, repeated."""
