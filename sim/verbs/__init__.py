"""The verbs of the command line, one file each: HELP, options(parser), call(options) -> exit code.

The file's name is the verb. A verb imports what it needs when it is called, so that --help stays instant.
"""
