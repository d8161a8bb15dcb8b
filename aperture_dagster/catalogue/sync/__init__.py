"""Write what the media server lists into the catalogue: libraries, films, series and episodes."""
