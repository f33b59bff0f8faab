"""The NetSpec library behind prototxt/generate.py: one file an idea, no input or output."""
