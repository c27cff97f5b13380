"""The pure domain: every module has its test file, which covers it alone."""
