"""`kimad bench link`: how fast the links between the ranks are."""
