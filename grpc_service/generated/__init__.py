"""Made from sidecar.proto by `make proto`; never changed by hand."""
