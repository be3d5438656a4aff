"""The pure core: values in, values out; no sockets, files, clocks or subprocesses."""
