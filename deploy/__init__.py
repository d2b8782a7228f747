"""The rig as a whole: configuration, process table, supervisor, command line, report, monitor."""
