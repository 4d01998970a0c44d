"""Options and steps of the commands that draw on the user's own base."""
