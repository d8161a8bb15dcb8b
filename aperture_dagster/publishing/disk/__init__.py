"""What a list becomes on disk: folders, names, NFO files, pictures and dates."""
