# SPDX-License-Identifier: Apache-2.0
"""polygate-bench: it loads a gateway in every way, and it sees what is lost."""
import json
import subprocess

import pytest

import polygate
from authority import Authority

BENCH = polygate.BUILD / "polygate-bench"


def bench(gw, *arguments, status=0):
    done = subprocess.run(
        [BENCH, "--port", str(gw.port("mqtt")), "--pid", str(gw.process.pid), "--warmup", "50",
         "--measure", "200", *arguments],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        timeout=polygate.TIMEOUT, check=False)
    assert done.returncode == status, done.stdout
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("version", [4, 5])
@pytest.mark.parametrize("qos", [0, 1, 2])
@pytest.mark.parametrize("scenario", [
    "pairs", "fan-in --publishers 20", "fan-out --subscribers 50 --burst 4 --outstanding 16",
    "wildcard --fillers 300", "shared", "latency --rate 1000"])
def test_every_message_of_a_load_comes_once_and_in_order(gateway, scenario, qos, version):
    result = bench(gateway(), *scenario.split(), "--qos", str(qos), "--mqtt", str(version))
    assert result["ok"] and result["delivered"] > 0 and result["broker_cpu_s"] > 0


def test_clients_storm_and_leave(gateway):
    assert bench(gateway(), "storm", "--clients", "500")["connected"] == 500


def test_memory_of_idle_clients_is_measured(gateway):
    result = bench(gateway(), "idle", "--base", "100", "--clients", "1000")
    assert result["connected"] == 1000 and 0 < result["bytes_per_client"] < 65536


def test_lost_messages_are_seen(gateway):
    gw = gateway("session { queue_messages = 10 inflight = 10 }\n")
    result = bench(gw, "pairs", "--qos", "1", "--outstanding", "1000", "--burst", "100",
                   "--patience", "1000", status=1)
    assert not result["ok"] and result["lost"] > 0 and result["sent"] > result["delivered"]


def test_a_broker_that_refuses_is_seen(gateway):
    gw = gateway("limits { connections = 5 }\n")
    result = bench(gw, "storm", "--clients", "20", "--patience", "1000", status=1)
    assert result["refused"] > 0 and result["failures"]


def test_a_storm_of_clients_with_certificates_and_sessions(gateway, folder):
    ca = Authority(folder)
    ca.issue("server")
    ca.issue("device")
    with open(folder / "device.pem", "a", encoding="ascii") as both:
        both.write((folder / "device.key").read_text())
    gw = gateway(listeners={"mqtt": 'listener "mqtt" { bind = {"127.0.0.1:0"} protocol = mqtt transport = tls '
                                    f'certificates = "{folder}/server.pem" keys = "{folder}/server.key" '
                                    f'verify = require ca_file = "{folder}/ca.pem" identity = cn }}\n'})
    for version in ("12", "13"):
        for more in ([], ["--resume"]):
            result = bench(gw, "storm", "--clients", "50", "--tls", "--tls-version", version, "--certificate",
                           str(folder / "device.pem"), *more)
            assert result["connected"] == 50 and result["connections_per_broker_cpu_s"] > 0
    result = bench(gw, "storm", "--clients", "5", "--tls", status=1)
    assert result["refused"] == 5, "without a certificate"


def test_sessions_that_cannot_be_resumed_are_seen(gateway, folder):
    Authority(folder).issue("server")
    gw = gateway(listeners={"mqtt": 'listener "mqtt" { bind = {"127.0.0.1:0"} protocol = mqtt transport = tls '
                                    f'certificates = "{folder}/server.pem" keys = "{folder}/server.key" '
                                    'session_tickets = no }\n'})
    result = bench(gw, "storm", "--clients", "5", "--tls", "--resume", status=1)
    assert any("no session" in what for what in result["failures"])
