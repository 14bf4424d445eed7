"""A run of ``ovseg annotate``: which images, what is known of them, and how their files come about.

images ─ reading (threads) ─> work: groups ─ finder ─> record, files of each format ─> a row of the folder's
manifest. ``engines`` does this in one process or on the workers of a cluster, ``plan`` says what is missing and
writes the files of the whole data set, ``annotate`` is the call.
"""
