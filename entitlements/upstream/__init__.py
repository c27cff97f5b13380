"""The Stigg cloud: HTTP clients and the feed."""
