"""What is trained, a module per task: classifiers, descents of analytic functions, and a user's own modules."""
