"""Learning by doing: one algorithm a file, from tables to networks."""
