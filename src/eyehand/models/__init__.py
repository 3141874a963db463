"""Whole networks, one published network a file, by modality."""
