"""What is trained, a module per task: networks on examples, analytic functions, and a user's own modules."""
