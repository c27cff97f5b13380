"""Where writes wait for the cloud: in the shared Redis, or in a file."""
