"""The weather machine: real processes under load while things break on purpose; docs/chaos.md."""
