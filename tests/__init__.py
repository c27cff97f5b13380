"""Tests mirror the packages: tests/<layer>/test_<module>.py."""
