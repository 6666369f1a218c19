"""Detection: boxes of things, their classes and their masks."""
