"""Action heads: features and their history in, action chunks out, one head a file."""
