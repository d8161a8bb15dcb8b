"""What members said and chose: hidden titles, more like this, choices, genres not wanted; sessions and API keys."""
