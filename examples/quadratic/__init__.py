"""The Kimad paper's synthetic experiment: quadratics, a parameter server, and a link that oscillates."""
