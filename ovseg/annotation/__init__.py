"""Folders of images and a list of words to label files that annotation tools open, and back."""
