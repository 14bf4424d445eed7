"""The page of ``ovseg page``: photographs, words, corrections by clicks, label files.

``answers`` computes the masks of all words, ``photos`` keeps what was decided, ``session`` holds both together.
``desk`` does what a browser's tabs ask for, ``state`` is what they are told, ``drawing`` the picture in it;
``web`` checks who asks, over HTTP, and ``serve`` runs the server. ``page.html``, ``.css`` and ``.js`` are the
browser's side, without any package.
"""
