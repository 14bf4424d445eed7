"""Backends of annotation tools: masks for the words and clicks that a tool sends over HTTP."""
