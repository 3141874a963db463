"""The training loop; it drives any `Update`, such as supervised learning of ``loss(batch)``."""
