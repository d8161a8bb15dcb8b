"""What must be true of the assets, a module beside each group."""
