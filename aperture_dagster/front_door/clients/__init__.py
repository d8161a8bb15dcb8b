"""The lists for clients of the media server: televisions, phones and its web clients draw them as rows."""
