"""The parts of a study's page."""
