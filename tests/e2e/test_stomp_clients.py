# SPDX-License-Identifier: Apache-2.0
"""STOMP clients that others wrote, unmodified: @stomp/stompjs over ws and wss, in Node and in a browser,
and stompit over TCP in Node."""
import json
import os

import pytest

from authority import Authority
from browser import MODULES, module
from polygate import CTL, ROOT, Tool
from stompwire import StompPeer

STOMPJS = "@stomp/stompjs/bundles/stomp.umd.min.js"


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
    gw = gateway(listeners={"stomp": "stomp", "ws": (
        f'listener "ws" {{ bind = {{"127.0.0.1:0"}} transport = {request.param} protocol = stomp {keys} }}\n')})
    gw.url = f"{request.param}://localhost:{gw.port('ws')}/stomp"
    return gw


# What is done in both places; what happened is returned.
EXCHANGE = """
async function exchange(StompJs, url, binary) {
    const seen = [], queue = [];
    let wake = () => {};
    const put = one => { queue.push(one); wake(); };
    const next = async () => {
        while (queue.length === 0) await new Promise(done => { wake = done; });
        return queue.shift();
    };
    let connects = 0, pongs = 0, beat = () => {};
    let up = () => {};
    const client = new StompJs.Client({
        brokerURL: url, reconnectDelay: 100, heartbeatIncoming: 1000, heartbeatOutgoing: 1000,
        forceBinaryWSFrames: binary,
        connectHeaders: {"client-id": "js"},
        debug: text => { if (text === "<<< PONG" && ++pongs === 2) beat(); },
        onConnect: frame => { connects++; up(frame); },
        onStompError: frame => seen.push("error " + frame.body),
    });
    const connected = new Promise(done => { up = done; });
    client.activate();
    const hello = await connected;
    seen.push("version " + hello.headers.version);

    const receipt = async (id, act) => {
        const got = new Promise(done => client.watchForReceipt(id, () => done()));
        act();
        await got;
        seen.push("receipt " + id);
    };
    // Acknowledged, and refused and had again.
    const sub = client.subscribe("/queue/js", put, {ack: "client-individual"});
    await receipt("sent", () => client.publish({destination: "/queue/js", body: "\\u4eacA\\n:\\\\",
                                                headers: {receipt: "sent", plate: "\\u4eac:1\\n2"}}));
    let message = await next();
    seen.push(`message ${message.body === "\\u4eacA\\n:\\\\"} ${message.headers.plate === "\\u4eac:1\\n2"}`);
    message.nack();
    message = await next();
    seen.push("redelivered " + message.headers.redelivered);
    message.ack();
    // Bodies that are no text, with NUL.
    client.publish({destination: "/queue/js", binaryBody: Uint8Array.from([0, 255, 10, 0])});
    message = await next();
    seen.push("binary " + [...message.binaryBody].join());
    message.ack();
    // Transactions.
    const tx = client.begin();
    client.publish({destination: "/queue/js", body: "one", headers: {transaction: tx.id}});
    client.publish({destination: "/queue/js", body: "two", headers: {transaction: tx.id}});
    tx.commit();
    for (let i = 0; i < 2; i++) {
        message = await next();
        seen.push("committed " + message.body);
        message.ack();
    }
    const other = client.begin();
    client.publish({destination: "/queue/js", body: "never", headers: {transaction: other.id}});
    other.abort();
    client.publish({destination: "/queue/js", body: "x".repeat(100000)});
    message = await next();
    seen.push("long " + message.body.length);
    message.ack();
    await receipt("gone", () => sub.unsubscribe({receipt: "gone"}));
    // Heart-beats, both ways, while nothing else is said.
    if (pongs < 2) await new Promise(done => { beat = done; });
    seen.push("alive " + client.connected);
    // The link breaks, and comes back by itself.
    const again = new Promise(done => { up = done; });
    client.forceDisconnect();
    await again;
    seen.push("connects " + connects);
    client.subscribe("/topic/again", put);
    client.publish({destination: "/topic/again", body: "back"});
    seen.push("again " + (await next()).body);
    await client.deactivate();
    return seen;
}
"""
EXPECTED = ["version 1.2", "receipt sent", "message true true", "redelivered true", "binary 0,255,10,0",
            "committed one", "committed two", "long 100000", "receipt gone", "alive true", "connects 2",
            "again back"]


def node(gw, ca, text):
    (gw.folder / "client.js").write_text(text)
    return Tool("node", gw.folder / "client.js", env=dict(
        os.environ, NODE_PATH=str(MODULES), NODE_EXTRA_CA_CERTS=str(ca.folder / "ca.pem"))).wait()


@pytest.mark.parametrize("binary", [False, True], ids=["text", "binary"])
def test_stompjs_in_node(gw, ca, binary):
    module(STOMPJS)
    output = node(gw, ca, EXCHANGE + f"""
        Object.assign(globalThis, {{WebSocket: require("ws")}});
        exchange(require("@stomp/stompjs"), {json.dumps(gw.url)}, {json.dumps(binary)}).then(
            seen => {{ console.log(JSON.stringify(seen)); process.exit(0); }},
            error => {{ console.log(error); process.exit(1); }});
    """)
    assert json.loads(output) == EXPECTED
    gw.wait_log("closed", client="js", reason="client_closed")


@pytest.mark.parametrize("binary", [False, True], ids=["text", "binary"])
def test_stompjs_in_a_browser(gw, browser, site, binary):
    site.add("/stomp.js", module(STOMPJS))
    site.add("/page.html", f"<script src=stomp.js></script><script>{EXCHANGE}</script>")
    browser.open(site.url("/page.html"))
    assert browser.run("return exchange(StompJs, arguments[0], arguments[1])", gw.url, binary) == EXPECTED
    gw.wait_log("closed", client="js", reason="client_closed")


STOMPIT = """
const stompit = require("stompit");
const seen = [];
const options = {host: "127.0.0.1", port: PORT, connectHeaders: {host: "/", "heart-beat": "1000,1000"}};

function read(message) {
    return new Promise((done, fail) => message.readString("utf-8", (error, body) => error ? fail(error) : done(body)));
}

function connect(server) {
    return new Promise((done, fail) => stompit.connect(server, (error, client) => error ? fail(error) : done(client)));
}

// An iterator over what comes.
function subscribe(client, headers) {
    const queue = [];
    let wake = () => {};
    client.subscribe(headers, (error, message) => { queue.push([error, message]); wake(); });
    return async () => {
        while (queue.length === 0) await new Promise(done => { wake = done; });
        const [error, message] = queue.shift();
        if (error) throw error;
        return message;
    };
}

function send(client, headers, body, how = {}) {
    return new Promise((done, fail) => {
        const frame = client.send(headers, {onReceipt: done, onError: fail, ...how});
        frame.write(body);
        frame.end();
    });
}

async function main() {
    const client = await connect(options);
    seen.push("connected");
    const next = subscribe(client, {destination: "/queue/it", ack: "client-individual"});
    await send(client, {destination: "/queue/it", "content-type": "text/plain", kind: "a:b"}, "hello");
    let message = await next();
    seen.push("message " + await read(message) + " " + message.headers.kind);
    client.nack(message);
    message = await next();
    seen.push("redelivered " + message.headers.redelivered + " " + await read(message));
    client.ack(message);
    const transaction = client.begin();
    for (const text of ["one", "two"]) {
        const frame = transaction.send({destination: "/queue/it"});
        frame.end(text);
    }
    transaction.commit();
    for (let i = 0; i < 2; i++) {
        message = await next();
        seen.push("committed " + await read(message));
        client.ack(message);
    }
    await new Promise((done, fail) => client.disconnect(error => error ? fail(error) : done()));
    seen.push("disconnected");
    // It reconnects by itself, once the first address does not answer.
    const failover = new stompit.ConnectFailover([{...options, port: 1}, options], {initialReconnectDelay: 10});
    const second = await new Promise((done, fail) =>
        failover.connect((error, one) => error ? fail(error) : done(one)));
    await send(second, {destination: "/topic/x"}, "x");
    seen.push("again");
    await new Promise((done, fail) => second.disconnect(error => error ? fail(error) : done()));
    console.log(JSON.stringify(seen));
}

main().catch(error => { console.log(error); process.exit(1); });
"""


def test_stompit_in_node(gateway, ca):
    module("stompit/package.json")
    gw = gateway(listeners={"stomp": "stomp"})
    output = node(gw, ca, STOMPIT.replace("PORT", str(gw.port("stomp"))))
    assert json.loads(output) == [
        "connected", "message hello a:b", "redelivered true hello", "committed one", "committed two",
        "disconnected", "again"]


# ---- the page in examples/live --------------------------------------------------------------------


def test_the_example_page_shows_vehicles_and_talks_to_them(gateway, browser, site):
    """Subscribe, receive a location, send a text to the terminal, see its answer; and a chat."""
    gw = gateway(listeners={"jt808": "jt808", "stomp": "stomp", "ws": (
        'listener "ws" { bind = {"127.0.0.1:0"} transport = ws protocol = stomp }\n')})
    live = ROOT / "examples" / "live"
    for name in ("index.html", "live.css", "live.js"):
        site.add("/" + name, live / name)
    site.add("/node_modules/" + STOMPJS, module(STOMPJS))
    browser.open(site.url("/index.html"))
    browser.fill("#url", f"ws://localhost:{gw.port('ws')}/stomp")
    browser.fill("#name", "tester")
    browser.click("#login button")
    browser.wait_for("return document.querySelector('#state').value === 'connected'")
    simulator = gw.tool(CTL, "simulate", "jt808", "-h", "127.0.0.1", "-p", gw.port("jt808"), "-n", "2", "-I", "1")
    simulator.wait_line("013800000002 online")
    browser.wait_for("return document.querySelectorAll('#rows tr').length === 2")
    browser.wait_for("return [...document.querySelectorAll('#rows tr')].every("
                     "row => /^31[.]\\d{6}$/.test(row.cells[3].textContent) && row.cells[1].textContent === 'online')")
    # The track is drawn: something in the colour of each vehicle.
    browser.wait_for("""
        const map = document.querySelector('#map'), pixels = map.getContext('2d')
            .getImageData(0, 0, map.width, map.height).data;
        let red = 0, blue = 0;
        for (let i = 0; i < pixels.length; i += 4) {
            red += pixels[i] > 200 && pixels[i + 1] < 80 && pixels[i + 3] > 200;
            blue += pixels[i] < 60 && pixels[i + 2] > 180 && pixels[i + 3] > 200;
        }
        return red > 20 && blue > 20;""")
    browser.click("#rows tr[data-phone='013800000001']")
    browser.fill("#text", "Turn left, 京A")
    browser.click("#command button")
    simulator.wait_line("Turn left")
    browser.wait_for("return [...document.querySelectorAll('#answers li')].some("
                     "line => line.textContent === '013800000001“Turn left, 京A”: ok')")
    # The chat, with a client that is no browser.
    other = gw.connect("stomp", StompPeer)
    other.login("1.2")
    other.receipt("SUBSCRIBE", id="1", destination="/topic/chat")
    browser.fill("#words", "hello <b>")
    browser.click("#say button")
    assert other.next("MESSAGE", **{"from": "tester"}).body == b"hello <b>"
    other.put("SEND", "hi", destination="/topic/chat", **{"from": "script"})
    browser.wait_for("return [...document.querySelectorAll('#lines li')].map(line => line.textContent)"
                     ".join() === 'testerhello <b>,scripthi'")
    assert not [text for text in browser.console() if "favicon" not in text]
