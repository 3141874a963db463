"""The training loop; it sees anything with ``loss(batch)``."""
