"""What a client is told when its request cannot be served: a status and OpenAI's error object."""

from __future__ import annotations

from typing import Any


class ApiError(Exception):
    """A request that is refused or has failed; the message is a whole sentence.

    Args:
        status: of HTTP.
        message: what was expected, what came, what to do.
        param: the request's field that is wrong.
        code: a word for programs, such as "context_length_exceeded".
        kind: OpenAI's `type`; by default it follows from the status.
        retry_after: seconds after which it is worth asking again.
    """

    def __init__(
        self,
        status: int,
        message: str,
        *,
        param: str | None = None,
        code: str | None = None,
        kind: str | None = None,
        retry_after: int | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.param = param
        self.code = code
        self.kind = kind or ("invalid_request_error" if status < 500 else "server_error")
        self.retry_after = retry_after

    def body(self) -> dict[str, Any]:
        """The JSON object that OpenAI's clients expect."""
        error = {
            "message": self.message,
            "type": self.kind,
            "param": self.param,
            "code": self.code,
        }
        return {"error": error}

    def headers(self) -> dict[str, str]:
        """Retry-After, where there is one."""
        return {} if self.retry_after is None else {"Retry-After": str(self.retry_after)}
