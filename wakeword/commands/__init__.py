"""The commands of `wakeword`, a file per room: each parses, calls one function, prints.

`wakeword.cli` gathers them. Whatever a command needs is imported when it runs.
"""
