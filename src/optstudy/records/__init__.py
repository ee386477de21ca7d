"""Shows studies in MLflow and Optuna, and makes the rows of tables and the provenance of results."""
