"""Pure functions on tensors, arrays and strings, one subject a file; no modules, state or files."""
