"""Tests of what people are told to type."""
