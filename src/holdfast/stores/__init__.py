"""The contract that every driver, layer and router fulfils."""
