"""A real X-AnyLabeling for tools/try_x_anylabeling.py: what a person does in its window."""
