"""The class that every caller holds."""
