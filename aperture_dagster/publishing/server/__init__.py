"""What publishing changes on the media server: libraries, collections, playlists, access and rows."""
