"""Prices of AI models: the public list, what the configured model costs, and whether its provider still offers it."""
