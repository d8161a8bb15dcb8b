"""What members said and chose: titles hidden, wanted more of, for later; genres not wanted; sessions and API keys."""
