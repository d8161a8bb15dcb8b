"""``aperture up``: the code server, the web server and the daemon in the foreground."""
