"""Dagster's daemons by a simulated clock, and a household for them to work for."""
