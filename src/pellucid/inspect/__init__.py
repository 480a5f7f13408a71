"""A model as a whole: what it has learned, rather than why it decided one case."""
