"""Serves a sandbox over real HTTP in a thread: `with start(Settings()) as sandbox:`."""

import asyncio
import socket
import threading
from types import TracebackType
from typing import Self

import uvicorn

from sandbox import access
from sandbox.account import Account, open_account
from sandbox.app import create_app
from sandbox.clock import Clock
from sandbox.connection import Connections, protocol_for
from sandbox.mail_files import Loaded
from sandbox.operations import BASE_PATH, CONTROL_PATH
from sandbox.settings import Settings

_START_SECONDS = 30.0
_STOP_SECONDS = 10.0
_BACKLOG = 2048


class CannotListenError(OSError):
    """The address is in use or not of this machine, or the server did not start."""


class _Server(uvicorn.Server):
    """A server with events for its start and stop, instead of a poll every tenth of a second."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.ready = threading.Event()
        self.failure: BaseException | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop_event: asyncio.Event | None = None

    @property
    def began(self) -> bool:
        return self._loop is not None

    def run(self, sockets: list[socket.socket] | None = None) -> None:
        try:
            super().run(sockets)
        # The waiting thread raises the reason; this thread must not print a traceback.
        except (Exception, SystemExit) as problem:
            if self.began:
                raise
            self.failure = problem
        finally:
            self.ready.set()

    async def main_loop(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._stop_event = asyncio.Event()
        self.ready.set()
        await self._stop_event.wait()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        # Calls in progress get the usual grace period; without any there is no wait.
        if self.server_state.tasks:
            await super().shutdown(sockets)
            return
        for server in self.servers:
            server.close()
        for connection in list(self.server_state.connections):
            connection.shutdown()
        await asyncio.sleep(0)

    def stop(self) -> None:
        if self._loop is not None and self._stop_event is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._stop_event.set)


class RunningSandbox:
    """A running sandbox. `state` is its account, which a test in the same process can read and change."""

    token = access.FULL_ACCESS
    read_token = access.READ_ONLY
    revoked_token = access.REVOKED
    email = access.EMAIL
    email_key = access.EMAIL_KEY

    def __init__(self, account: Account, mail: Loaded | None, listener: socket.socket) -> None:
        self.state = account
        self.mail = mail
        self.account_id = account.access.account_id
        host, port = listener.getsockname()[:2]
        self.origin = f"http://{f'[{host}]' if ':' in host else host}:{port}"
        self.base_url = self.origin + BASE_PATH
        self.control_url = self.origin + CONTROL_PATH
        connections = Connections()
        self._server = _Server(
            uvicorn.Config(
                create_app(account, connections),
                http=protocol_for(connections),
                ws="none",
                lifespan="off",
                log_config=None,
                access_log=False,
                proxy_headers=False,
                server_header=False,
                date_header=False,
                timeout_keep_alive=75,
                timeout_graceful_shutdown=1,
            )
        )
        self._listener = listener
        self._thread = threading.Thread(
            target=self._server.run, kwargs={"sockets": [listener]}, name="sandbox", daemon=True
        )

    @property
    def clock(self) -> Clock:
        return self.state.clock

    def serve(self) -> None:
        """Start the server, and return when it answers. Raises CannotListenError."""
        self._thread.start()
        self._server.ready.wait(_START_SECONDS)
        if not self._server.began:
            self._server.should_exit = True
            problem = self._server.failure
            raise CannotListenError(f"can't serve on {self.origin}: {problem or 'it did not start'}") from problem

    def stop(self) -> None:
        """Stop the server and wait for its end. A second call does nothing."""
        self._server.stop()
        self._thread.join(_STOP_SECONDS)
        self._listener.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def start(settings: Settings | None = None) -> RunningSandbox:
    """Create a tenant and serve it. Raises BadAlertError, NoMailError or CannotListenError."""
    settings = settings or Settings()
    listener = _listen(settings.host, settings.port)
    try:
        opened = open_account(settings)
        sandbox = RunningSandbox(opened.account, opened.mail, listener)
        sandbox.serve()
    except BaseException:
        listener.close()
        raise
    return sandbox


def _listen(host: str, port: int) -> socket.socket:
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind, protocol)
    except OSError as problem:
        raise CannotListenError(f"can't listen on {host}:{port}: {problem.strerror or problem}") from problem
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        # Listen at once, because another process can also bind an address that is only bound.
        listener.listen(_BACKLOG)
    except OSError as problem:
        listener.close()
        raise CannotListenError(f"can't listen on {host}:{port}: {problem.strerror or problem}") from problem
    return listener
