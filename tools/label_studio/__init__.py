"""A real Label Studio for tools/try_label_studio.py: its environment, its API and its page."""
