"""What the layers of any network see, cost and waste."""
