"""Parts of ``quarter.py``: two households that live through the same days, and what happens to one of them."""
