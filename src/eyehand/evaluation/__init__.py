"""Record demonstrations, measure policies, report."""
