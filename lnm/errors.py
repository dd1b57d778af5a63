"""What goes wrong by the user's hand, and only that."""


class UserError(Exception):
    """Input that only the user can put right: one line that names the input and the fix."""
