"""HTTP for applications: the Connect protocol and OFREP, in front of the methods that gRPC serves."""
