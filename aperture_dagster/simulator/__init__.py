"""Stand-ins for every outside service, on loopback, and the worlds that they serve."""
