"""The subcommands, one file each.

A subcommand's file holds a docstring (what it does; its first line is the summary in the list of commands), `ARGUMENTS`
(what follows the command, as the usage line shows it), `define_flags(flags)` and `run(flags, arguments)`, which returns
the exit code, or `None` for 0. It imports what is heavy inside `run`, so that help and mistakes come at once. If it
needs no Keras at all, it says `KERAS = False`.
"""
