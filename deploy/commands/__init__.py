"""One module per larger command of the command line."""
