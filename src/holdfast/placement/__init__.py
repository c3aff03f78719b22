"""Where a new dataset goes, and where an old one may be. Pure functions."""
