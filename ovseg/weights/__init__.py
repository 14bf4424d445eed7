"""Weight files of every family: what is known, where it lies, how it comes and whether it is whole.

``store`` is the way in: find, path, pull and verify by a model's name and, for open_clip's models, a tag.
``checkpoints`` reads the tensors of a file without running code from it; ``digest`` says what a model's
weights are.
"""
