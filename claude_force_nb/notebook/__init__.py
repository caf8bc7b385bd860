"""The notebook edge: the only part that may import IPython and ipywidgets."""
