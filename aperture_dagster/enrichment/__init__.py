"""What TMDb, OMDb and MDBList know of titles: their clients, what is stored of their answers, and which source wins."""
