# SPDX-License-Identifier: Apache-2.0
"""A platform that another one forwards its vehicles to, for tests: it takes logins, keeps every frame and
answers it, can be killed and started again on its port, and tells what came how often and in which order.

Written from GB/T 32960.3-2016, chapter 5 to 7, and independent of the gateway's codec on purpose.
"""
import collections
import functools
import operator
import socket
import ssl
import struct
import threading
import time

from gbt32960wire import (COMMAND, HEARTBEAT, PLATFORM_LOGIN, PLATFORM_LOGOUT, REISSUE, REPORT,
                          SUCCESS, Frame)
from polygate import TIMEOUT


def answer_to(frame, flag):
    """Chapter 6: command, id and encryption as in the request, of its unit the time alone."""
    raw = frame.raw
    unit = b"" if frame.command == HEARTBEAT else raw[24:30]
    content = raw[2:3] + bytes([flag]) + raw[4:22] + struct.pack("!H", len(unit)) + unit
    return raw[:2] + content + bytes([functools.reduce(operator.xor, content)])


class Upstream:
    """judge(frame) -> the response flag, or None for silence; it may be replaced at any time."""

    def __init__(self, tls=None):
        self.judge = lambda frame: SUCCESS
        self.tls = tls  # an ssl.SSLContext
        self.frames = []  # (frame, number of its link), logins included
        self.links = 0
        self.open = []
        self.listening = None
        self.changed = threading.Condition()
        self.port = 0
        self.start()

    def start(self):
        self.listening = socket.socket()
        self.listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.listening.bind(("127.0.0.1", self.port))
        self.listening.listen(16)
        self.port = self.listening.getsockname()[1]
        threading.Thread(target=self._accept, args=(self.listening,), daemon=True).start()
        return self

    def kill(self):
        """As a process that is killed: nobody listens, and every link is gone."""
        with self.changed:
            listening, self.listening = self.listening, None
            links, self.open = self.open, []
            # accept() and recv() of the threads return, and what was not read is lost.
            listening.shutdown(socket.SHUT_RDWR)
            listening.close()
            for link in links:
                try:
                    link.shutdown(socket.SHUT_RDWR)
                except OSError:
                    pass

    def _accept(self, listening):
        while True:
            try:
                link, _ = listening.accept()
            except OSError:
                return
            with self.changed:
                if self.listening is not listening:
                    link.close()
                    return
                self.links += 1
                number = self.links
                self.open.append(link)
            threading.Thread(target=self._serve, args=(link, number), daemon=True).start()

    def _serve(self, link, number):
        try:
            if self.tls:
                plain, link = link, self.tls.wrap_socket(link, server_side=True)
                with self.changed:
                    self.open = [link if other is plain else other for other in self.open]
            link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            pending = b""
            while True:
                data = link.recv(1 << 16)
                if not data:
                    break
                pending = self._take(link, number, pending + data)
        except (OSError, ssl.SSLError):
            pass
        with self.changed:
            self.open = [other for other in self.open if other is not link]
            self.changed.notify_all()
        link.close()

    def _take(self, link, number, data):
        """Keep and answer the whole frames of `data`; the rest. All under the lock, so that a kill comes
        before or after."""
        answers, at = b"", 0
        with self.changed:
            if link not in self.open:
                return b""
            while len(data) - at >= 24:
                end = at + 25 + struct.unpack_from("!H", data, at + 22)[0]
                if len(data) < end:
                    break
                frame = Frame(data[at:end])
                at = end
                self.frames.append((frame, number))
                flag = self.judge(frame) if frame.flag == COMMAND else None
                if flag is not None:
                    answers += answer_to(frame, flag)
            self.changed.notify_all()
            if answers:
                link.sendall(answers)
        return data[at:]

    # ---- what came ------------------------------------------------------------------------------

    def of(self, *commands, start=0):
        with self.changed:
            return [frame for frame, _ in self.frames[start:] if frame.command in commands]

    def wait(self, found, what):
        """Until found(self) is true; what it says."""
        deadline = time.monotonic() + TIMEOUT
        with self.changed:
            while True:
                result = found(self)
                if result:
                    return result
                left = deadline - time.monotonic()
                assert left > 0, f"waiting for {what}: {len(self.frames)} frames, " \
                    f"the last: {[frame for frame, _ in self.frames[-8:]]}"
                self.changed.wait(left)

    def wait_for(self, command, count=1):
        """The frame number `count` of this command."""
        return self.wait(lambda up: up.of(command)[count - 1:], f"{count} of 0x{command:02X}")[0]

    def records(self):
        """VIN -> the times of its records as they came first, and how many came more than once. Those
        have to be marked as re-issued when they come again."""
        order, again = collections.defaultdict(list), 0
        seen = set()
        with self.changed:
            frames = list(self.frames)
        for frame, _ in frames:
            if frame.command not in (REPORT, REISSUE):
                continue
            record = (frame.vin, frame.unit[:6])
            if record in seen:
                assert frame.command == REISSUE, f"{frame} came twice and is not marked"
                again += 1
                continue
            seen.add(record)
            order[frame.vin].append(frame.unit[:6])
        return order, again


__all__ = ["PLATFORM_LOGIN", "PLATFORM_LOGOUT", "Upstream", "answer_to"]
