"""Features to maps, and maps to labels, points and scores."""
