"""Tests of entitlements/management."""
