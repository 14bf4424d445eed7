"""A run of ``ovseg annotate``: its images, its folder and manifest, and the work on each image.

images ─ reading (threads) ─> work: groups ─ finder ─> record, files of each format ─> a row of the folder's
manifest. ``engines`` runs this in one process or on the workers of a cluster, ``plan`` decides which images have
work left and writes the files that cover the whole data set, ``annotate`` is the entry point.
"""
