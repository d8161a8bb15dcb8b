"""What keeps a home in order: what is wrong with it, and what is old and may go."""
