"""Parts of ``soak.py``: two households that live through the same month, and what happens to one of them."""
