# SPDX-License-Identifier: Apache-2.0
"""The real daemon, started for a test.

    def test_something(gateway):
        gw = gateway('mqtt { session { queue_messages = 10 } }')
        peer = gw.connect("mqtt")                      # a plain socket to the listener "mqtt"
        peer.send(bytes.fromhex("c000"))
        gw.wait_log("closed", reason="protocol_error") # a log line, by event and fields

Nothing here sleeps to let something happen: a test waits for an event (a log line, a packet, the
end of a process), and TIMEOUT bounds every wait. It is generous: it is only reached by a test that
fails anyway. Listeners are on 127.0.0.1, port 0; the real ports are read from the log.
"""
import json
import os
import pathlib
import re
import resource
import shlex
import signal
import socket
import subprocess
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get("POLYGATE_BUILD", ROOT / "build"))
BIN = os.environ.get("POLYGATE_BIN", str(BUILD / "polygate"))
CTL = os.environ.get("POLYGATECTL_BIN", str(BUILD / "polygatectl"))
VECTORS = pathlib.Path(os.environ.get("POLYGATE_VECTORS", ROOT.parent / "shared" / "vectors"))
TIMEOUT = float(os.environ.get("PG_E2E_TIMEOUT", "30"))

# What a sanitizer writes when it found something.
SANITIZER = re.compile(r"(ERROR|WARNING): \w+Sanitizer|runtime error:")

LISTENERS = {"mqtt": "mqtt", "jt808": "jt808"}
CONTROL = "control.sock"

_FIELD = re.compile(r'([\w.]+)=("(?:\\.|[^"\\])*"|\S*)')


def parse_line(line):
    """The fields of a log line as a dict; quotes are taken off."""
    fields = {}
    for key, value in _FIELD.findall(line):
        if len(value) >= 2 and value[0] == '"':
            value = re.sub(r"\\(.)", r"\1", value[1:-1])
        fields[key] = value
    return fields


def raise_descriptors():
    """As many descriptors as this process, and what it starts, may have."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


def sanitized():
    """Whether the daemon was built with a sanitizer: its memory and its pace are others then."""
    version = subprocess.run([BIN, "-V"], capture_output=True, text=True, check=True, timeout=TIMEOUT).stdout
    return not re.search(r"sanitizers:\s+none", version)


def resident_bytes(gw, field="VmRSS"):
    """What a gateway has in memory; `field` is one of proc(5), /proc/pid/status."""
    with open(f"/proc/{gw.process.pid}/status", encoding="ascii") as status:
        return next(int(line.split()[1]) for line in status if line.startswith(field + ":")) * 1024


class Lines:
    """The lines that a process writes to one pipe, collected by a thread."""

    def __init__(self, pipe, copy_to=None):
        self._lines = []
        self._ended = False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._collect, args=(pipe, copy_to), daemon=True)
        self._thread.start()

    def _collect(self, pipe, copy_to):
        for raw in pipe:
            line = raw.decode("utf-8", "replace").rstrip("\n")
            if copy_to:
                copy_to.write(line + "\n")
                copy_to.flush()
            with self._changed:
                self._lines.append(line)
                self._changed.notify_all()
        pipe.close()
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def all(self):
        with self._changed:
            return list(self._lines)

    def join(self):
        """Wait until the process has closed the pipe."""
        self._thread.join(TIMEOUT)
        assert not self._thread.is_alive(), "the pipe is still open"

    def wait(self, found, what, start=0, timeout=TIMEOUT):
        """The first line from number `start` on for which found(line) is true: (number, result)."""
        deadline = time.monotonic() + timeout
        number = start
        with self._changed:
            while True:
                while number < len(self._lines):
                    result = found(self._lines[number])
                    if result:
                        return number, result
                    number += 1
                left = deadline - time.monotonic()
                if self._ended or left <= 0:
                    why = "the process ended" if self._ended else f"{timeout:g} s passed"
                    tail = "\n".join(self._lines[-40:])
                    raise AssertionError(f"waiting for {what}: {why}; last lines:\n{tail}")
                self._changed.wait(left)


class Tool:
    """A client program (mosquitto_sub, polygatectl simulate, ...) in the background; `stdin` is bytes,
    or True for what send() writes."""

    def __init__(self, *command, stdin=None, env=None, cwd=None):
        self.command = [str(word) for word in command]
        self.process = subprocess.Popen(
            self.command, stdin=subprocess.PIPE if stdin is not None else subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=env, cwd=cwd)
        self.lines = Lines(self.process.stdout)
        if stdin is not None and stdin is not True:
            self.process.stdin.write(stdin)
            self.process.stdin.close()

    def send(self, line):
        self.process.stdin.write(line.encode() + b"\n")
        self.process.stdin.flush()

    def wait_line(self, pattern, start=0):
        """Wait for a line that the regular expression finds; the match."""
        return self.lines.wait(re.compile(pattern).search, f"/{pattern}/ from {self.command[0]}",
                               start)[1]

    def wait(self, status=0):
        """Wait for the end; the exit status must be `status` (None: any). The output."""
        got = self.process.wait(TIMEOUT)
        self.lines.join()
        output = "\n".join(self.lines.all())
        assert status is None or got == status, \
            f"{shlex.join(self.command)}: exit status {got}\n{output}"
        return output

    def stop(self):
        """End it if it runs, without judging it."""
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(TIMEOUT)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        if self.process.stdin:
            self.process.stdin.close()
        self.lines.join()


class Peer:
    """A plain TCP connection that says what is sent and what must come back."""

    def __init__(self, port, host="127.0.0.1", source=""):
        self.socket = socket.create_connection((host, port), TIMEOUT, (source, 0))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.pending = b""

    def send(self, data):
        self.socket.sendall(data)

    def send_pieces(self, data, size=1):
        """The same bytes in pieces of `size`. They may meet in the peer's buffer all the same;
        the unit tests are those that cut exactly."""
        for start in range(0, len(data), size):
            self.socket.sendall(data[start:start + size])

    def _more(self, what):
        try:
            data = self.socket.recv(65536)
        except socket.timeout:
            raise AssertionError(
                f"waiting for {what}: nothing in {TIMEOUT:g} s; before: {self.pending.hex(' ')}"
            ) from None
        except ConnectionResetError:
            data = b""
        if not data:
            raise ConnectionError(
                f"waiting for {what}: the connection was closed; before: {self.pending.hex(' ')}")
        self.pending += data

    def read(self, size, what=None):
        while len(self.pending) < size:
            self._more(what or f"{size} bytes")
        data, self.pending = self.pending[:size], self.pending[size:]
        return data

    def read_until(self, end, what=None):
        """Up to and including the byte string `end`."""
        while end not in self.pending:
            self._more(what or f"bytes up to {end.hex()}")
        size = self.pending.index(end) + len(end)
        return self.read(size)

    def expect(self, data):
        """Exactly these bytes come next."""
        got = b""
        try:
            got = self.read(len(data), data.hex(" "))
        except ConnectionError as error:
            raise AssertionError(str(error)) from None
        assert got == data, f"expected {data.hex(' ')}\n     got {(got + self.pending).hex(' ')}"

    def expect_close(self):
        """The peer closes, and nothing comes before that."""
        try:
            self._more("the end of the connection")
        except ConnectionError:
            pass
        assert not self.pending, f"expected the end, got {self.pending.hex(' ')}"

    def close(self):
        self.socket.close()

    def reset(self):
        """Close with a RST, as a terminal that loses power does."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        self.socket.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


class Gateway:
    """One running daemon with a configuration of its own in a folder of its own.

    config      text of the configuration file below the listeners and the control socket
    listeners   name -> protocol (TCP on 127.0.0.1:0), or name -> text of a whole listener block
    arguments   more command line arguments
    env         more environment variables
    """

    def __init__(self, folder, config="", listeners=None, arguments=(), env=None, control=True):
        self.folder = pathlib.Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.config_path = self.folder / "polygate.conf"
        self.log_path = self.folder / "polygate.log"
        self.listeners = LISTENERS if listeners is None else listeners
        self.arguments = list(arguments)
        self.env = dict(os.environ, **(env or {}))
        self.control = control
        self.process = None
        self.lines = None
        self._log = None
        self._tools = []
        self._peers = []
        self.write_config(config)

    # ---- life -----------------------------------------------------------------------------------

    def write_config(self, config=""):
        """Write the configuration file, for the start or before a reload."""
        text = ""
        if self.control:
            # A path from the daemon's own folder: one from the root may be longer than a socket's can.
            text += f'control {{ socket = "{CONTROL}" }}\n'
        for name, value in self.listeners.items():
            text += value if "{" in value else (
                f'listener "{name}" {{ bind = {{"127.0.0.1:0"}}  transport = tcp  protocol = {value} }}\n')
        self.config_path.write_text(text + config, encoding="utf-8")

    def start(self):
        """Start and wait until every listener is open, and nothing of the start is under way."""
        self.launch()
        for name in self.listeners:
            self.port(name)
        self.wait_log("ready")
        return self

    def launch(self):
        """Start, without waiting for anything."""
        assert self.process is None or self.process.poll() is not None, "it is running"
        self._log = open(self.log_path, "a", encoding="utf-8")
        self.process = subprocess.Popen(
            [BIN, "-c", str(self.config_path), *self.arguments], stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=self.env, cwd=self.folder)
        self.lines = Lines(self.process.stderr, self._log)
        return self

    def stop(self, status=0):
        """End by SIGTERM. The exit status must be `status`, and no sanitizer may have spoken."""
        for tool in self._tools:
            tool.stop()
        self._tools = []
        if self.process is None:
            return
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        # Only now: the daemon ends with connections open, but need not linger for them.
        for peer in self._peers:
            peer.close()
        try:
            got = self.process.wait(TIMEOUT)
        except subprocess.TimeoutExpired:
            # A core of the moment says more than the fact.
            self.process.send_signal(signal.SIGABRT)
            self.process.wait()
            got = f"none {TIMEOUT:g} s after SIGTERM"
        self._ended()
        assert got == status, f"polygate: exit status {got}, expected {status}; log: {self.log_path}"

    def wait_exit(self, status):
        """It ends by itself, with this exit status."""
        got = self.process.wait(TIMEOUT)
        self._ended()
        assert got == status, f"polygate: exit status {got}, expected {status}; log: {self.log_path}"

    def kill(self):
        """kill -9, as a crash."""
        self.process.kill()
        self.process.wait()
        self._ended()

    def _ended(self):
        self.lines.join()
        self._log.close()
        self.process = None
        report = [line for line in self.lines.all() if SANITIZER.search(line)]
        assert not report, f"{report[0]}; log: {self.log_path}"

    def reload(self, config=None):
        """SIGHUP, with a new configuration if one is given; waits for the answer in the log."""
        if config is not None:
            self.write_config(config)
        mark = self.mark()
        self.process.send_signal(signal.SIGHUP)
        return self.wait_log("reloaded|reload_failed", start=mark)

    # ---- log ------------------------------------------------------------------------------------

    def mark(self):
        """The present end of the log, for `start`."""
        return len(self.lines.all())

    def wait_log(self, event, start=0, **fields):
        """Wait for a log line by its event and fields (regular expressions that match whole
        values); the line's fields as a dict."""
        def found(line):
            got = parse_line(line)
            wanted = {"event": event, **fields}
            if all(re.fullmatch(str(pattern), got.get(key, "")) for key, pattern in wanted.items()):
                return got
            return None

        return self.lines.wait(found, f"event={event} {fields}", start)[1]

    def logged(self, event, start=0, **fields):
        """The log lines so far with this event and these fields."""
        wanted = {"event": event, **fields}
        lines = [parse_line(line) for line in self.lines.all()[start:]]
        return [got for got in lines
                if all(re.fullmatch(str(p), got.get(k, "")) for k, p in wanted.items())]

    def provoke(self, attempt, event, **fields):
        """Call attempt() until there is a new log line of this kind; its fields. For what is logged at
        most once a second, so that one attempt may leave no line."""
        start, deadline = self.mark(), time.monotonic() + TIMEOUT
        while True:
            attempt()
            if lines := self.logged(event, start, **fields):
                return lines[0]
            assert time.monotonic() < deadline, f"no event={event} {fields}; log: {self.log_path}"

    def counters(self):
        return json.loads(self.ctl("status", "-j"))["counters"]

    # ---- clients --------------------------------------------------------------------------------

    def address(self, listener):
        """The address and port that a listener really has."""
        return self.wait_log("listening", name=re.escape(listener))["address"]

    def port(self, listener):
        return int(self.address(listener).rpartition(":")[2])

    def connect(self, listener, kind=Peer, **arguments):
        """A plain connection to a listener; `kind` is Peer or a class made from it."""
        peer = kind(self.port(listener), **arguments)
        self._peers.append(peer)
        return peer

    def tool(self, *command, stdin=None):
        """A program in the background, in the gateway's folder, ended with it at the latest."""
        tool = Tool(*command, stdin=stdin, cwd=self.folder)
        self._tools.append(tool)
        return tool

    def mosquitto_sub(self, *arguments, listener="mqtt"):
        """mosquitto_sub, once its subscription is acknowledged; messages are lines
        `MSG <topic> <payload>`."""
        tool = self.tool("stdbuf", "-oL", "mosquitto_sub", "-d", "-h", "127.0.0.1", "-p", self.port(listener),
                         "-F", "MSG %t %p", *arguments)
        tool.wait_line(r"^Subscribed \(mid: \d+\)")
        return tool

    def mosquitto_pub(self, *arguments, listener="mqtt", status=0):
        """mosquitto_pub, run to its end; its output."""
        return self.tool("mosquitto_pub", "-h", "127.0.0.1", "-p", self.port(listener),
                         *arguments).wait(status)

    def ctl(self, *arguments, status=0):
        """polygatectl on the control socket; its output."""
        return self.tool(CTL, "-s", CONTROL, *arguments).wait(status)
