"""Earlier plays and ratings from files that other programs exported."""
