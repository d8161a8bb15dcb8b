"""What users watched: their states and marks on the server, the log of plays, and how far each history was read."""
