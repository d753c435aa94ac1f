"""Experts in slow memory, moved ahead of need over a link (after ExpertFlow, arXiv 2410.17954)."""
