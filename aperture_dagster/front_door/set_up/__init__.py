"""The first evening: without a media server, the only pages are those on which one is set up, step by step."""
