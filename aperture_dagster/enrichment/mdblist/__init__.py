"""MDBList: scores of many sites, keywords, and where titles stream."""
