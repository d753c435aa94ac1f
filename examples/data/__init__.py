"""Data sets of the examples: what ships with scikit-learn, and files that a user has. Nothing is downloaded."""
