"""What brings rooms together: one function a run, which records, trains, measures or serves."""
