"""What `keras-mlp demo` does: a task a module."""
