"""The product: what entitlements are, where they are kept, where they come from."""
