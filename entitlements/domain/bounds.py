"""The ends of the numbers that other parts of the world can take."""

INT32_MIN, INT32_MAX = -(2**31), 2**31 - 1
"""The wire's whole numbers."""
LATEST_MS = 253_402_300_799_999
"""The end of the year 9999 (epoch milliseconds): the last moment that ISO 8601 and protobuf can name."""
