"""Parts of what is printed on a terminal: the progress of a study, and its closing table."""
