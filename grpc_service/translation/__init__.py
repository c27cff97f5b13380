"""Message ↔ value, in pairs (contract/grpc.md, How values map)."""
