"""Run Claude agents in Jupyter cells: concurrent, cached, signed, repeatable."""
