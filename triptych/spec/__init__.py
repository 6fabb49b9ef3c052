"""What is trained and how, as frozen dataclasses: no framework and no arithmetic."""
