"""What is trained, a module per task: networks on examples, descents of analytic functions, and a user's own modules."""
