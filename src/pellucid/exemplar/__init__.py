"""Examples that explain: those a model leans on, those that stand for many, those that differ."""
