"""The `keras-mlp` command. Each subcommand is the file of its name in `commands/`."""
