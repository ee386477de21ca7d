"""The study file: its schema, the rules between its keys, and loading it."""
