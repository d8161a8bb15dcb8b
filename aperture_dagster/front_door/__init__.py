"""The web server that people open: pages for the members of the household, and Dagster's UI below ``/operate``.

All of it is behind a guard against other websites.
"""
