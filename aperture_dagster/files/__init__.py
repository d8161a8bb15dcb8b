"""Files and folders that are opened, written and locked safely."""
