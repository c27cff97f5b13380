"""The admin, as a visitor sees it."""
