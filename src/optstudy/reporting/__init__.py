"""What people see: summaries in words, figures, pages and terminal tables."""
