"""Published copies: which originals they show, and how their state gets back to these."""
