"""What MLflow's pages show of a study: the links to them, the view of its runs, and the runs of its contenders."""
