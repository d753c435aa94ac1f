"""VGrow: particles pushed along a divergence's gradient flow, a generator that learns them, and GANs beside it."""
