"""What the examples' results are told by."""
