"""A small mixture of experts: trained as a plain DDP script, and served with experts that are moved ahead of need."""
