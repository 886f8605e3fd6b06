"""Graph passes: pure functions from graph to graph, and the memory planner."""
