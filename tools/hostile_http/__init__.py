"""Malformed requests for ``ovseg serve``: how they are drawn, sent and judged."""
