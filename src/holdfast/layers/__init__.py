"""Stores with exactly one inner store. No layer knows another."""
