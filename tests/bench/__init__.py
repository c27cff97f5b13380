"""Tests of the benchmark: a measure that is wrong is worse than none."""
