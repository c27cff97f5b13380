"""The wire: bytes in, bytes out, over the use cases of `entitlements`."""
