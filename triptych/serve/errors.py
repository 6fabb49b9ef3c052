"""The error that a client gets: a status and one line."""

from ..errors import TriptychError


class RequestError(TriptychError):
    """A request that is refused.

    Parameters
    ----------
    status : int
        The HTTP status, 400 to 599.
    message : str
        One line for the client.
    headers : dict of str to str, optional
        More headers of the response.
    """

    def __init__(self, status: int, message: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.headers = headers or {}
