"""Durable pieces of our own work: scrub, reconcile, reap."""
