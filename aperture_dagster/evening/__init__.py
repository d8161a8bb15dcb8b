"""What to watch tonight: one member with little time, or several in front of one screen."""
