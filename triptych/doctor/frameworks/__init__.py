"""What observes a user's model in its framework: an adapter for each."""
