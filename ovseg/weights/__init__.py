"""Weight files of every family: known models, places on disk, downloads and checksums.

``store`` finds, pulls and verifies weights by a model's name and, for open_clip's models, a tag.
``checkpoints`` reads the tensors of a file without running code from it; ``files`` computes the digests that
identify weights.
"""
