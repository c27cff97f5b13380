"""Tests of `grpc_service`."""
