"""What is projected from the journal: rows of tables, MLflow, Optuna, provenance."""
