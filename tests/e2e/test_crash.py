# SPDX-License-Identifier: Apache-2.0
"""kill -9 at any moment: what was acknowledged to its publisher arrives at every durable subscriber, in
order, and with QoS 2 exactly once.

Publishers and subscribers are clients as the standard wants them (MQTT 3.1.1, 4.3 and 4.4): they keep
their part of the session over connections, and send again what is open. The gateway is killed after a
random number of acknowledgements, so that every round makes progress, wherever the kill falls."""
import random
import resource
import socket
import threading
import time

import pytest

from mqttwire import (CONNACK, MqttPeer, PUBACK, PUBCOMP, PUBLISH, PUBREC, PUBREL, SUBACK, acknowledge,
                      connect, publish, subscribe)
from polygate import TIMEOUT

SEED = 20261125
ROUNDS = 24
WINDOW = 24  # messages of a publisher that are under way


class World:
    """What all clients share: where the gateway is, whether to go on, and how far they are."""

    def __init__(self, gw):
        self.gw = gw
        self.changed = threading.Condition()
        self.port = gw.port("mqtt")
        self.finishing = self.over = False
        self.acknowledged = 0
        self.failures = []
        self.clients, self.threads = [], []

    def note(self, number=1):
        with self.changed:
            self.acknowledged += number
            self.changed.notify_all()

    def wait(self, condition, what):
        deadline = time.monotonic() + TIMEOUT
        with self.changed:
            while not condition() and not self.failures:
                left = deadline - time.monotonic()
                assert left > 0, f"waiting for {what}"
                self.changed.wait(left)
        assert not self.failures, self.failures[0]

    def start(self, *clients):
        for client in clients:
            thread = threading.Thread(target=client.run, daemon=True)
            self.clients.append(client)
            self.threads.append(thread)
            thread.start()

    def end(self):
        with self.changed:
            self.over = True
            self.changed.notify_all()
        for client in self.clients:
            client.leave()
        for thread in self.threads:
            thread.join(TIMEOUT)
        assert not self.failures, self.failures[0]

    def crash(self):
        self.gw.kill()
        with self.changed:
            self.port = None
        self.gw.start()
        with self.changed:
            self.port = self.gw.port("mqtt")
            self.changed.notify_all()


class Client:
    """A client with a durable session that comes again whenever its connection ends."""

    def __init__(self, world, name):
        self.world, self.name = world, name
        self.peer = None
        self.known = False  # the gateway has told that it has the session

    def leave(self):
        peer = self.peer
        if peer:
            try:
                peer.socket.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass  # it is gone already

    def run(self):
        try:
            while not self.world.over:
                self.connect()
        except Exception as error:  # the test is told, whatever it is
            with self.world.changed:
                self.world.failures.append(f"{self.name}: {error!r}")
                self.world.changed.notify_all()

    def connect(self):
        with self.world.changed:
            if self.world.port is None:
                self.world.changed.wait(0.1)
            port = self.world.port
        if port is None:
            return
        try:
            peer = MqttPeer(port)
        except OSError:
            with self.world.changed:
                self.world.changed.wait(0.02)
            return
        self.peer = peer
        try:
            peer.send(connect(self.name, clean=False, keepalive=0))
            connack = peer.next(CONNACK)
            if connack.reason != 0:  # the store cannot keep anything at present
                with self.world.changed:
                    self.world.changed.wait(0.02)
                return
            assert connack.session_present or not self.known, "the session is gone"
            self.known = True
            self.resume(peer)
            while not self.world.over:
                self.take(peer, peer.next())
        except OSError:
            pass  # the gateway was killed, or has refused something
        finally:
            self.peer = None
            peer.close()


class Publisher(Client):
    def __init__(self, world, name, qos, topic):
        super().__init__(world, name)
        self.qos, self.topic = qos, topic
        self.next_number = 0
        self.open = {}  # packet identifier -> [number, released], in the order of sending
        self.done = 0

    def message(self, packet_id, dup=False):
        return publish(self.topic, f"{self.name} {self.open[packet_id][0]}", self.qos, packet_id, dup=dup)

    def resume(self, peer):
        # Before MQTT 5 a client sends again in order: what was released, and what was not.
        peer.send(b"".join(acknowledge(PUBREL, i) if released else self.message(i, dup=True)
                           for i, (_, released) in self.open.items()))
        self.fill(peer)

    def fill(self, peer):
        out = b""
        while len(self.open) < WINDOW and not self.world.finishing:
            packet_id = self.next_number % 60000 + 1
            self.open[packet_id] = [self.next_number, False]
            self.next_number += 1
            out += self.message(packet_id)
        if out:
            peer.send(out)

    def take(self, peer, packet):
        if packet.kind == PUBREC:
            self.open[packet.packet_id][1] = True
            peer.send(acknowledge(PUBREL, packet.packet_id))
        elif self.open.pop(packet.packet_id, None):
            assert packet.kind == (PUBACK if self.qos == 1 else PUBCOMP)
            self.done += 1
            self.world.note()
            self.fill(peer)


class Subscriber(Client):
    """`holds`: after so many messages it goes without acknowledging the last ones, and comes again.
    Not `ordered`: what was refused comes later than what was sent behind it."""

    def __init__(self, world, name, qos, filters, holds=None):
        super().__init__(world, name)
        self.qos, self.filters, self.holds = qos, filters, holds
        self.ordered, self.seen = True, {}
        self.held = set()  # QoS 2: received and not released
        self.last = {}     # publisher -> the last number
        self.count = self.since = 0

    def resume(self, peer):
        self.since = 0
        if not self.filters:
            return
        peer.send(subscribe(1, *((name, self.qos) for name in self.filters)))
        while True:
            packet = peer.next()
            if packet.kind == SUBACK:
                assert all(code == self.qos for code in packet.codes)
                break
            self.take(peer, packet)
        self.filters = ()
        with self.world.changed:
            self.world.changed.notify_all()

    def processed(self, packet):
        publisher, number = packet.payload.decode().split()
        number, last = int(number), self.last.get(publisher, -1)
        if not self.ordered:
            seen = self.seen.setdefault(publisher, set())
            seen.add(number)
            while last + 1 in seen:
                last += 1
            self.last[publisher] = last
            return
        if packet.qos == 1 and number <= last:
            return  # it may come twice
        assert number == last + 1, f"{publisher} {number} after {last} (QoS {packet.qos})"
        self.last[publisher] = number
        self.count += 1

    def take(self, peer, packet):
        if packet.kind == PUBREL:
            self.held.discard(packet.packet_id)
            peer.send(acknowledge(PUBCOMP, packet.packet_id))
            return
        assert packet.kind == PUBLISH
        if packet.qos == 1:
            self.processed(packet)
        elif packet.packet_id not in self.held:
            self.held.add(packet.packet_id)
            self.processed(packet)
        self.since += 1
        if self.holds and self.since > self.holds:
            raise ConnectionError("it goes")
        peer.send(acknowledge(PUBACK if packet.qos == 1 else PUBREC, packet.packet_id))
        with self.world.changed:
            self.world.changed.notify_all()


def finish(world, publishers, subscribers):
    """Let what is open be acknowledged, then everything arrive."""
    with world.changed:
        world.finishing = True
    world.wait(lambda: all(not p.open for p in publishers), "the last acknowledgements")
    for s in subscribers:
        expected = {p.name: p.next_number - 1 for p in publishers
                    if p.topic.startswith(s.prefix) and p.next_number > 0}
        world.wait(lambda s=s, e=expected: s.last == e, f"all messages at {s.name}")
    world.end()


def start_load(gw, qos, ordered=True):
    """Publishers and subscribers, of which some come and go."""
    world = World(gw)
    publishers = [Publisher(world, f"p{q}{i}", q, f"load/q{q}/{i}") for q in qos for i in range(2)]
    subscribers = [Subscriber(world, f"s{q}{name}", q, [f"load/q{q}/{last}"], holds)
                   for q in qos for name, last, holds in (("", "#", None), ("-goes", "+", 50))]
    for s in subscribers:
        s.prefix, s.ordered = f"load/q{s.qos}", ordered
    world.start(*subscribers)
    world.wait(lambda: all(not s.filters for s in subscribers), "subscriptions")
    world.start(*publishers)
    return world, publishers, subscribers


def go_on(world, number):
    until = world.acknowledged + number
    world.wait(lambda: world.acknowledged >= until, "acknowledgements")


@pytest.mark.parametrize("workers", [1, 3])
def test_nothing_that_was_acknowledged_is_lost_or_comes_twice(gateway, workers):
    chance = random.Random(SEED + workers)
    gw = gateway(f'workers = {workers}\nstore {{ path = "store" }}\n')
    world, publishers, subscribers = start_load(gw, (1, 2))
    for _ in range(ROUNDS // 2):
        go_on(world, chance.randint(1, 400))
        world.crash()
    finish(world, publishers, subscribers)


def test_nothing_that_was_acknowledged_is_lost_when_the_disk_fills_in_between(gateway):
    chance = random.Random(SEED)
    gw = gateway('workers = 2\nstore { path = "store" }\n')
    world, publishers, subscribers = start_load(gw, (1,), ordered=False)
    for number in range(8):
        go_on(world, chance.randint(1, 200))
        mark = gw.mark()
        before = resource.prlimit(gw.process.pid, resource.RLIMIT_FSIZE, (1, resource.RLIM_INFINITY))
        gw.wait_log("store_failed", start=mark)
        if number % 2:
            world.crash()
        else:
            resource.prlimit(gw.process.pid, resource.RLIMIT_FSIZE, before)
            gw.wait_log("store_works", start=mark)
    finish(world, publishers, subscribers)
