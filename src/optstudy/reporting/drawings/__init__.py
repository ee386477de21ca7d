"""The drawings of figures, a module for each kind."""
