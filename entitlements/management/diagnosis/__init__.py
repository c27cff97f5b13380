"""What may keep a sidecar from working, found one by one, each with its fix."""
