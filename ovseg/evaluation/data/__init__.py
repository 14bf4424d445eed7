"""Labelled pictures, and benchmarks' files brought into the layouts that are read."""
