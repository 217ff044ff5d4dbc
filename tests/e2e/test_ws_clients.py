# SPDX-License-Identifier: Apache-2.0
"""MQTT.js over ws and wss, in Node and in a browser."""
import json
import os

import pytest

from authority import Authority
from browser import MODULES, module
from polygate import Tool


@pytest.fixture(scope="module")
def ca(tmp_path_factory):
    authority = Authority(tmp_path_factory.mktemp("ca"))
    authority.issue("server", san="DNS:localhost,IP:127.0.0.1")
    return authority


@pytest.fixture(params=["ws", "wss"])
def gw(request, gateway, ca):
    """A gateway with a listener of that transport, and its URL."""
    keys = ""
    if request.param == "wss":
        keys = f'certificates = {{"{ca.folder}/server.pem"}} keys = {{"{ca.folder}/server.key"}}'
    gw = gateway(listeners={"mqtt": "mqtt", "ws": (
        f'listener "ws" {{ bind = {{"127.0.0.1:0"}} transport = {request.param} protocol = mqtt {keys} }}\n')})
    gw.url = f"{request.param}://localhost:{gw.port('ws')}/mqtt"
    return gw


# What is done in both places: sizes around the limits of WebSocket's lengths, each way, at each QoS.
EXCHANGE = """
const bytes = size => {
    const made = Uint8Array.from({length: size}, (_, i) => i % 251);
    return globalThis.Buffer ? Buffer.from(made) : made;
};
async function exchange(mqtt, url, version) {
    const client = await mqtt.connectAsync(url, {protocolVersion: version, clientId: "js"});
    const got = [];
    const sizes = [0, 1, 120, 125, 126, 65530, 65536, 200000];
    const all = new Promise((done, fail) => {
        client.on("error", fail);
        client.on("message", (topic, payload) => {
            got.push(topic + " " + payload.length + " " + (payload.every((byte, i) => byte === i % 251)));
            if (got.length === sizes.length * 3) done();
        });
    });
    await client.subscribeAsync("js/#", {qos: 2});
    for (const qos of [0, 1, 2])
        for (const size of sizes)
            await client.publishAsync("js/" + qos, bytes(size), {qos});
    await all;
    await client.endAsync();
    return got;
}
"""
EXPECTED = [f"js/{qos} {size} true" for qos in (0, 1, 2)
            for size in (0, 1, 120, 125, 126, 65530, 65536, 200000)]


@pytest.mark.parametrize("version", [4, 5])
def test_mqtt_js_in_node(gw, ca, version):
    module("mqtt/package.json")
    (gw.folder / "client.js").write_text(EXCHANGE + f"""
        exchange(require("mqtt"), {json.dumps(gw.url)}, {version}).then(
            got => console.log(JSON.stringify(got)),
            error => {{ console.log(error); process.exit(1); }});
    """)
    output = Tool("node", gw.folder / "client.js", env=dict(
        os.environ, NODE_PATH=str(MODULES), NODE_EXTRA_CA_CERTS=str(ca.folder / "ca.pem"))).wait()
    assert sorted(json.loads(output)) == sorted(EXPECTED)
    gw.wait_log("closed", client="js", reason="client_closed")


@pytest.mark.parametrize("version", [4, 5])
def test_mqtt_js_in_a_browser(gw, browser, site, version):
    site.add("/mqtt.js", module("mqtt/dist/mqtt.min.js"))
    site.add("/page.html", f"<script src=mqtt.js></script><script>{EXCHANGE}</script>")
    browser.open(site.url("/page.html"))
    got = browser.run("return exchange(mqtt, arguments[0], arguments[1])", gw.url, version)
    assert sorted(got) == sorted(EXPECTED)
    gw.wait_log("closed", client="js", reason="client_closed")
