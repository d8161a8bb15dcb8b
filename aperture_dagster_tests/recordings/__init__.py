"""Answers of real servers to requests of this project, and a comparison of the stand-ins with them."""
