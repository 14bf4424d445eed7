"""Scores of segmentation, maps and masks on data sets."""
