"""Trainings of one architecture that run as one model (vmap-style batching of trainings)."""
