"""Detection: boxes of instances, their classes and their masks."""
