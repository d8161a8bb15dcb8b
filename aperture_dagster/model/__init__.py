"""What everything else speaks of. Imports nothing of the package."""
