"""Holdfast keeps a research group's datasets over all the storage it has, as one place."""
