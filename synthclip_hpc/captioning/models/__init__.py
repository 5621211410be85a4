"""Language models: found, checked, fingerprinted."""
