"""Names and class lists: read, checked, folded, with their synonyms."""
