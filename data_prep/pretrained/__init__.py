"""Weights that others have published: where they are, and how they get into a net of prototxt/ (data_prep/weights.py)."""
