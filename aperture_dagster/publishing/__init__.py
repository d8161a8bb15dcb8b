"""What should be on the media server: desired state from our data, compared with what is there. No Dagster, no HTTP."""
