"""Models of any kind: found on this machine, fingerprinted, copied, and run within a device's memory."""
