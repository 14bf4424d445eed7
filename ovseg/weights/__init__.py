"""Weight files of every family: what is known, where it lies, how it comes and whether it is whole."""
