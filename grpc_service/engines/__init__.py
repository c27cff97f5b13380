"""What carries the methods: one interface, several ways."""
