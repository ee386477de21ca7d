"""One training, or a stack of trainings, with Lightning."""
