"""`kimad doctor`: what works on this machine, tried out."""
