"""Words, figures, pages and terminal output."""
