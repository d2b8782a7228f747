"""CURVE keys of a host and the allow-list of those whom it lets in.

A folder is the identity of one host: ``NAME.key_secret`` (readable by its owner alone), ``NAME.key`` (public, to be
handed to others) and ``allowed.keys``, a line ``PUBLIC-KEY NAME`` for each host that may connect. Key files have
ZeroMQ's own certificate format, so that other ZeroMQ programs read them.

ZeroMQ asks a handler inside the process whom to let in (ZAP, ZeroMQ RFC 27); without one CURVE lets everybody in who
knows the public key. `Gatekeeper` is that handler: a thread that compares with the allow-list and nothing else.
"""

import os
import re
import stat
import threading
from dataclasses import dataclass, field
from pathlib import Path

import zmq
from zmq.utils import z85

from ..sync.closing import Closing
from ..sync.errors import KeysError

ALLOWED_FILE = "allowed.keys"
_DOMAIN = b"ethostream"
_ZAP = "inproc://zeromq.zap.01"
_NAME = re.compile(r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,62}$")
_FIELD = re.compile(r'^\s*(public-key|secret-key|name)\s*=\s*"([^"]*)"\s*$', re.MULTILINE)
_KEY_CHARACTERS = 40
_KEY_BYTES = 32
_MAX_FILE_BYTES = 256 * 1024
_ROOT = 0


@dataclass(frozen=True, slots=True)
class Keys:
    """The keys of one host.

    Attributes:
        name: of the host.
        public: 40 characters (Z85).
        secret: the same; never printed.
        allowed: public key by name; the host itself stands in it too.
    """

    name: str
    public: bytes
    secret: bytes = field(repr=False)
    allowed: dict[str, bytes]

    def serve(self, socket: "zmq.Socket[bytes]") -> None:
        """Make a socket that is about to bind accept allowed hosts only; its context needs a `Gatekeeper`."""
        socket.setsockopt(zmq.CURVE_SERVER, 1)
        socket.setsockopt(zmq.CURVE_SECRETKEY, self.secret)
        socket.setsockopt(zmq.CURVE_PUBLICKEY, self.public)
        socket.setsockopt(zmq.ZAP_DOMAIN, _DOMAIN)
        # Without a handler nobody is let in, rather than everybody.
        socket.setsockopt(zmq.ZAP_ENFORCE_DOMAIN, 1)

    def connect(self, socket: "zmq.Socket[bytes]", server: str | None = None) -> None:
        """Make a socket that is about to connect speak to ``server``, a name of the allow-list; None: to this host.

        Raises:
            KeysError: the allow-list has no such name.
        """
        public = self.public if server is None else self.allowed.get(server)
        if public is None:
            known = ", ".join(sorted(self.allowed))
            raise KeysError(f"{server}: not in the allow-list of {self.name} ({known}); ethostream keys allow adds it")
        socket.setsockopt(zmq.CURVE_SERVERKEY, public)
        socket.setsockopt(zmq.CURVE_SECRETKEY, self.secret)
        socket.setsockopt(zmq.CURVE_PUBLICKEY, self.public)

    @property
    def others(self) -> list[str]:
        """Names of the allow-list other than this host's own."""
        return sorted(name for name in self.allowed if name != self.name)


def make_keys(folder: Path, name: str) -> Path:
    """Make a key pair in a folder, which is made where it is missing; returns the public file, to be handed to others.

    Raises:
        KeysError: the name cannot name a file, the folder has keys already, or it cannot be written.
    """
    _check_name(name)
    public, secret = zmq.curve_keypair()
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        _check_private(folder, stat.S_IWGRP | stat.S_IWOTH, "change")
        there = sorted(folder.glob("*.key_secret"))
        if there:
            raise KeysError(f"{there[0]}: this folder has keys already; a folder is one host, choose another")
        pair = f'metadata\n    name = "{name}"\ncurve\n    public-key = "{public.decode()}"\n'
        _write_new(folder / f"{name}.key_secret", f'{pair}    secret-key = "{secret.decode()}"\n', 0o600)
        _write_new(folder / f"{name}.key", pair, 0o644)
        if not (folder / ALLOWED_FILE).exists():
            _write_new(folder / ALLOWED_FILE, "# public key, name: one line per host that may connect\n", 0o600)
    except OSError as error:
        raise KeysError(f"{folder}: keys cannot be written ({error.strerror}); choose another folder") from error
    return folder / f"{name}.key"


def allow_key(folder: Path, public_file: Path) -> str:
    """Let the owner of a public key file in from now on (processes read the list when they start); returns its name.

    Raises:
        KeysError: the folder has no keys of its own, the file is no public key, or its name stands for another key.
    """
    keys = load_keys(folder)
    fields = _fields(public_file)
    if "secret-key" in fields:
        raise KeysError(f"{public_file}: is a secret key file; it must never leave its host. Give the .key file beside")
    name, public = fields.get("name", public_file.stem), fields.get("public-key", "")
    _check_name(name)
    _check_key(public.encode(), public_file)
    if name in keys.allowed:
        if keys.allowed[name] == public.encode():
            return name
        raise KeysError(f"{name}: another key has that name in {folder / ALLOWED_FILE}; remove its line first")
    try:
        listed = _read(folder / ALLOWED_FILE) if (folder / ALLOWED_FILE).exists() else ""
        # An editor may have left the last line open: what is put behind it would be part of it.
        line = f"{public} {name}\n" if not listed or listed.endswith("\n") else f"\n{public} {name}\n"
        fd = os.open(folder / ALLOWED_FILE, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        with os.fdopen(fd, "a", encoding="ascii") as file:
            file.write(line)
    except OSError as error:
        raise KeysError(f"{folder / ALLOWED_FILE}: cannot be written ({error.strerror})") from error
    return name


def load_keys(folder: Path) -> Keys:
    """Read the keys and the allow-list of a folder.

    Raises:
        KeysError: there are none or several, one is malformed, or others can read the secret or change the list, by
            its own rights or by those of the folder.
    """
    secrets = sorted(folder.glob("*.key_secret")) if folder.is_dir() else []
    if len(secrets) != 1:
        found = "no secret key" if not secrets else f"{len(secrets)} secret keys"
        raise KeysError(
            f"{folder}: has {found}, one is expected; make it with: ethostream keys make {folder} --name ME"
        )
    path = secrets[0]
    # Whoever can write into the folder can put another list in the place of this one.
    _check_private(folder, stat.S_IWGRP | stat.S_IWOTH, "change")
    _check_private(path, stat.S_IRWXG | stat.S_IRWXO, "read")
    fields = _fields(path)
    name = path.name.removesuffix(".key_secret")
    _check_name(name)
    public, secret = fields.get("public-key", "").encode(), fields.get("secret-key", "").encode()
    for key in (public, secret):
        _check_key(key, path)
    if zmq.curve_public(secret) != public:
        raise KeysError(f"{path}: public and secret key do not belong together; make new ones")
    return Keys(name, public, secret, {name: public, **_allowed(folder / ALLOWED_FILE, name)})


def _allowed(path: Path, own: str) -> dict[str, bytes]:
    if not path.exists():
        return {}
    _check_private(path, stat.S_IWGRP | stat.S_IWOTH, "change")
    allowed: dict[str, bytes] = {}
    for number, line in enumerate(_read(path).splitlines(), 1):
        words = line.split()
        if not words or words[0] == "#":  # a key may itself hold a '#'
            continue
        if len(words) != 2:
            raise KeysError(f"{path}, line {number}: expected a public key and a name")
        key, name = words[0].encode(), words[1]
        _check_name(name)
        _check_key(key, path)
        if name in allowed or name == own:
            raise KeysError(f"{path}, line {number}: the name {name} stands there for a second time; remove one line")
        allowed[name] = key
    return allowed


def _check_name(name: str) -> None:
    if not _NAME.match(name):
        raise KeysError(f"name {name!r}: use letters, digits, '-', '_' and '.', 63 at most")


def _check_key(key: bytes, path: Path) -> None:
    try:
        good = len(key) == _KEY_CHARACTERS and len(z85.decode(key)) == _KEY_BYTES
    except (KeyError, ValueError):
        good = False
    if not good:
        raise KeysError(
            f"{path}: holds something that is no key of 40 characters; copy the file again, or make new keys"
        )


def _check_private(path: Path, forbidden: int, verb: str) -> None:
    about = path.stat()
    mode, right = stat.S_IMODE(about.st_mode), "700" if stat.S_ISDIR(about.st_mode) else "600"
    if mode & forbidden:
        raise KeysError(f"{path}: others can {verb} it (mode {mode:03o}); mend it with: chmod {right} {path}")
    if about.st_uid not in (os.geteuid(), _ROOT):
        raise KeysError(
            f"{path}: belongs to another user (number {about.st_uid}), who can {verb} it; mend it with: "
            f"chown {os.geteuid()} {path}"
        )


def _read(path: Path) -> str:
    try:
        if path.stat().st_size > _MAX_FILE_BYTES:
            raise KeysError(f"{path}: {path.stat().st_size} bytes are too many for keys; is it the right file?")
        return path.read_text(encoding="ascii")
    except OSError as error:
        raise KeysError(f"{path}: cannot be read ({error.strerror}); check the path") from error
    except UnicodeDecodeError as error:
        raise KeysError(f"{path}: is not a text of plain characters; is it the right file?") from error


def _fields(path: Path) -> dict[str, str]:
    return dict(_FIELD.findall(_read(path)))


def _write_new(path: Path, text: str, mode: int) -> None:
    """Never over an older file, and never readable by others, not even for a moment."""
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "w", encoding="ascii") as file:
        os.fchmod(file.fileno(), mode)
        file.write(text)


class Gatekeeper(Closing):
    """The thread that ZeroMQ asks whom to let in. One per context, started before any socket of it binds.

    Attributes:
        n_allowed, n_refused: connections let in and turned away.

    Raises:
        KeysError: the context has one already.
    """

    def __init__(self, context: "zmq.Context[zmq.Socket[bytes]]", keys: Keys) -> None:
        self.n_allowed = 0
        self.n_refused = 0
        self._names = {public: name for name, public in keys.allowed.items()}
        self._socket = context.socket(zmq.REP)
        self._socket.setsockopt(zmq.LINGER, 0)
        self._stop = context.socket(zmq.PAIR)
        self._stopped = context.socket(zmq.PAIR)
        try:
            self._socket.bind(_ZAP)
        except zmq.ZMQError as error:
            for one in (self._socket, self._stop, self._stopped):
                one.close(linger=0)
            raise KeysError("this ZeroMQ context has a gatekeeper already; one is enough") from error
        address = f"inproc://gatekeeper-{id(self)}"
        self._stop.bind(address)
        self._stopped.connect(address)
        self._thread = threading.Thread(target=self._run, name="gatekeeper")
        self._thread.start()

    def _run(self) -> None:
        poller = zmq.Poller()
        poller.register(self._socket, zmq.POLLIN)
        poller.register(self._stopped, zmq.POLLIN)
        while True:
            ready = dict(poller.poll())
            if self._stopped in ready:
                break
            self._socket.send_multipart(self._answer(self._socket.recv_multipart()))
        self._socket.close(linger=0)
        self._stopped.close(linger=0)

    def _answer(self, question: list[bytes]) -> list[bytes]:
        # version, request id, domain, address, identity, mechanism, credentials
        version, request = (*question, b"", b"")[:2]
        name = None
        if len(question) == 7 and version == b"1.0" and question[2] == _DOMAIN and question[5] == b"CURVE":
            name = self._names.get(z85.encode(question[6])) if len(question[6]) == _KEY_BYTES else None
        if name is None:
            self.n_refused += 1
            return [b"1.0", request, b"400", b"not in the allow-list", b"", b""]
        self.n_allowed += 1
        return [b"1.0", request, b"200", b"OK", name.encode(), b""]

    def close(self) -> None:
        """End the thread. Connections that stand stay; new ones are refused."""
        if self._thread.is_alive():
            self._stop.send(b"")
            self._thread.join()
        self._stop.close(linger=0)
