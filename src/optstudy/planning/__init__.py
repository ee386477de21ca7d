"""Which trainings a study consists of, and which are finished: jobs, search points, selection, journal."""
