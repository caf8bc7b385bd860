"""Ways to get an answer; interchangeable, as :mod:`.base` says."""
