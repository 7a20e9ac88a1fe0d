"""A generated world, the small model trained on it, and the demo that shows both."""
