"""Wasserstein-Wasserstein auto-encoders beside AE, VAE and WAE-MMD, and as a plain DDP script."""
