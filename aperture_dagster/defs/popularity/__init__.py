"""What the household as a whole watches."""
