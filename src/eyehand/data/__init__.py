"""Episodes in, batches out: the LeRobot format, memory-mapped frames, windows, augmentation."""
