"""Reads data sets: each module has the functions that rows of `datasets.DATASETS` name."""
