"""How fast it is: bare servers and the sidecar under the same load, side by side. See bench/README.md."""
