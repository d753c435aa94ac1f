"""ResNet-18 on scikit-learn's digits: one plain DDP script, trained in four ways on a changing link."""
