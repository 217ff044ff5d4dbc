# SPDX-License-Identifier: Apache-2.0
"""The plugin sys: numbers of the gateway as retained messages below $SYS/broker."""
import re


def test_numbers_are_published_and_kept(gateway):
    gw = gateway("sys { interval = 1s }")
    busy = gw.mosquitto_sub("-i", "busy", "-t", "a/#")
    watcher = gw.mosquitto_sub("-t", "$SYS/broker/#")
    watcher.wait_line(r"^MSG \$SYS/broker/version polygate version ")
    watcher.wait_line(r"^MSG \$SYS/broker/uptime [0-9]+ seconds$")
    watcher.wait_line(r"^MSG \$SYS/broker/clients/connected 2$")
    watcher.wait_line(r"^MSG \$SYS/broker/subscriptions/count 2$")
    gw.mosquitto_pub("-t", "a/b", "-m", "x", "-q", "1")
    watcher.wait_line(r"^MSG \$SYS/broker/publish/messages/received 1$")
    busy.stop()
    watcher.wait_line(r"^MSG \$SYS/broker/clients/connected 1$")
    # They are retained: one who comes later has them at once.
    late = gw.mosquitto_sub("-t", "$SYS/broker/version", "-C", "1")
    assert "polygate" in late.wait()


def test_numbers_do_not_reach_wildcards_nor_come_from_clients(gateway):
    gw = gateway("sys { interval = 1s }")
    everything = gw.mosquitto_sub("-t", "#", "-t", "+/broker/#")
    numbers = gw.mosquitto_sub("-t", "$SYS/broker/uptime")
    numbers.wait_line("seconds$")
    gw.mosquitto_pub("-t", "$SYS/broker/uptime", "-m", "forged")
    gw.wait_log("publish_refused", reason="not_authorized")
    gw.mosquitto_pub("-t", "end", "-m", "x")
    everything.wait_line("^MSG end x$")
    assert not [line for line in everything.lines.all() if re.match(r"MSG \$SYS", line)]
    assert "forged" not in "".join(numbers.lines.all())


def test_loads_and_the_most_clients_are_told(gateway):
    gw = gateway("sys { interval = 1s }")
    watcher = gw.mosquitto_sub("-t", "$SYS/broker/load/#", "-t", "$SYS/broker/clients/#")
    other = gw.mosquitto_sub("-t", "x")
    watcher.wait_line(r"^MSG \$SYS/broker/clients/active 2$")
    for _ in range(20):
        gw.mosquitto_pub("-t", "a/b", "-m", "x" * 100, "-q", "1")
    other.stop()
    watcher.wait_line(r"^MSG \$SYS/broker/clients/connected 1$")
    assert gw.mosquitto_sub("-t", "$SYS/broker/clients/maximum", "-C", "1").wait_line("maximum [23]$")
    # 20 messages in a moment are 20 a minute over the minute, and less over a longer time; it fades.
    watcher.wait_line(r"^MSG \$SYS/broker/load/publish/received/1min (1[0-9]|20)\.[0-9]+$")
    watcher.wait_line(r"^MSG \$SYS/broker/load/publish/received/5min [34]\.[0-9]+$")
    watcher.wait_line(r"^MSG \$SYS/broker/load/publish/received/15min 1\.[0-9]+$")
    watcher.wait_line(r"^MSG \$SYS/broker/load/bytes/received/1min [0-9]{4,}\.[0-9]+$")
    watcher.wait_line(r"^MSG \$SYS/broker/load/sockets/1min (1[0-9]|2[0-9])\.[0-9]+$")
    watcher.wait_line(r"^MSG \$SYS/broker/load/connections/1min (1[0-9]|2[0-9])\.[0-9]+$")
