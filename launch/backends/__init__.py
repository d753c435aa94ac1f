"""Ways of shaping a link, one a file."""
