"""Policies of the cache, one a file."""
