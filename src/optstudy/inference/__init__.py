"""Statistics over plain numbers: they know of replicates, but of no study, table or file."""
