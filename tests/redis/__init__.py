"""Tests of entitlements/redis."""
