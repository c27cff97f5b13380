"""The whole, as its users see it."""
