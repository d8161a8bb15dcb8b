"""Parts of the benchmark of a large library: assets and floors, each in a process of its own."""
