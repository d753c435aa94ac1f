"""Measurements of the ExpertFlow inference."""
