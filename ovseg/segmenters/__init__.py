"""Promptable segmenters behind one protocol: the image once, prompts often. One file a family."""
