"""The page of ``ovseg page``: photographs, words, corrections by clicks, label files.

``answers`` computes, ``photos`` keeps, ``session`` holds them together; none of them knows Gradio, which
``layout`` alone imports.
"""
