"""The signed file cache."""
