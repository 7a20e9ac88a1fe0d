"""How fast this machine runs the model, and how far that is from what it could do."""
