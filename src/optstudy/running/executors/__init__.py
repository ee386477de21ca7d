"""What runs trainings: worker processes on this machine."""
