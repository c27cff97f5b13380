"""The shared Redis: its address, the connection, the names in it, and what processes agree on there."""
