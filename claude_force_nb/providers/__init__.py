"""Ways to get an answer; interchangeable behind :class:`~claude_force_nb.providers.base.Provider`."""
