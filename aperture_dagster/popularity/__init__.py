"""What the household watches: Top Picks, and the series that each user is in the middle of."""
