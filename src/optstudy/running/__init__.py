"""Doing the trainings: sessions, stages, the training loop, executors."""
