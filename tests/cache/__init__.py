"""Tests of entitlements/cache."""
