// SPDX-License-Identifier: Apache-2.0
//
// Vehicles that speak JT/T 808, seen live in a browser that speaks STOMP, and a chat between browsers.
//
//   /topic/jt808/+/up/0200      locations, in JSON with degrees and km/h
//   /topic/jt808/+/status       terminals come and go
//   /topic/jt808/PHONE/down     commands; the answer goes to reply-to with the same correlation-id
//   /topic/answers/ID           where this page has its answers
//   /topic/chat                 the chat; who said it is in a header, which MQTT 5 sees as a user property
//
// Everything is in this page: the track is drawn on a canvas, no map service is asked.
"use strict";

const $ = id => document.getElementById(id);
const POINTS = 500; // of a track
const COLORS = ["#d33", "#28c", "#2a2", "#c80", "#a3c", "#088"];

const vehicles = new Map(); // phone -> {row, track, color, report}
const waiting = new Map(); // correlation-id -> what was asked
let client = null, chosen = null, asked = 0;

// ---- lines of text -------------------------------------------------------------------------------

function line(list, who, text, bad = false) {
    const item = document.createElement("li"), name = document.createElement("b");
    name.textContent = who;
    item.append(name, text);
    item.classList.toggle("bad", bad);
    list.append(item);
    while (list.children.length > 200) list.firstChild.remove();
    item.scrollIntoView({block: "nearest"});
}

function state(text, bad = false) {
    $("state").value = text;
    $("state").classList.toggle("bad", bad);
}

// ---- vehicles ------------------------------------------------------------------------------------

function vehicle(phone) {
    let v = vehicles.get(phone);
    if (!v) {
        const row = document.createElement("tr");
        for (let i = 0; i < 7; i++) row.append(document.createElement("td"));
        row.cells[0].textContent = phone;
        row.dataset.phone = phone;
        row.addEventListener("click", () => choose(phone));
        $("rows").append(row);
        v = {row, track: [], color: COLORS[vehicles.size % COLORS.length], report: null};
        row.cells[0].style.color = v.color;
        vehicles.set(phone, v);
    }
    return v;
}

function choose(phone) {
    chosen = phone;
    $("target").value = phone;
    for (const [other, v] of vehicles) v.row.classList.toggle("chosen", other === phone);
    draw();
}

function onStatus(message) {
    const report = JSON.parse(message.body), v = vehicle(report.phone);
    v.row.cells[1].textContent = report.status;
    v.row.classList.toggle("offline", report.status !== "online");
}

function onLocation(message) {
    const report = JSON.parse(message.body), body = report.body, v = vehicle(report.phone);
    const texts = ["online", body.time.slice(11, 19), body.latitude.toFixed(6),
                   body.longitude.toFixed(6), body.speed.toFixed(1), body.direction];
    texts.forEach((text, i) => { v.row.cells[i + 1].textContent = text; });
    v.row.classList.remove("offline");
    v.report = report;
    v.track.push([body.longitude, body.latitude]);
    if (v.track.length > POINTS) v.track.shift();
    draw();
}

// ---- the track -----------------------------------------------------------------------------------

// The smallest box around all tracks, at least some 200 m wide, and the scale that fits it in.
function view(canvas) {
    const all = [...vehicles.values()].flatMap(v => v.track);
    if (all.length === 0) return null;
    const xs = all.map(p => p[0]), ys = all.map(p => p[1]);
    const middle = [(Math.min(...xs) + Math.max(...xs)) / 2, (Math.min(...ys) + Math.max(...ys)) / 2];
    const narrow = Math.cos(middle[1] * Math.PI / 180); // of a degree of longitude there
    const width = Math.max((Math.max(...xs) - Math.min(...xs)) * narrow, 0.002);
    const height = Math.max(Math.max(...ys) - Math.min(...ys), 0.002);
    const scale = 0.85 * Math.min(canvas.width / width, canvas.height / height); // pixels a degree
    return {scale, at: ([x, y]) => [canvas.width / 2 + (x - middle[0]) * narrow * scale,
                                    canvas.height / 2 - (y - middle[1]) * scale]};
}

function drawScale(pen, canvas, scale) {
    const metres = 10 ** Math.floor(Math.log10(0.4 * canvas.width / scale * 111320));
    const length = metres / 111320 * scale;
    pen.strokeStyle = pen.fillStyle = "#888";
    pen.lineWidth = 2;
    pen.strokeRect(16, canvas.height - 16, length, 1);
    pen.fillText(metres < 1000 ? `${metres} m` : `${metres / 1000} km`, 16, canvas.height - 24);
}

function draw() {
    const canvas = $("map"), pen = canvas.getContext("2d"), v = view(canvas);
    pen.clearRect(0, 0, canvas.width, canvas.height);
    if (!v) return;
    pen.font = "14px system-ui";
    drawScale(pen, canvas, v.scale);
    for (const [phone, one] of vehicles) {
        if (one.track.length === 0) continue;
        pen.strokeStyle = pen.fillStyle = one.color;
        pen.lineWidth = phone === chosen ? 4 : 2;
        pen.beginPath();
        one.track.forEach((point, i) => pen[i ? "lineTo" : "moveTo"](...v.at(point)));
        pen.stroke();
        const [x, y] = v.at(one.track[one.track.length - 1]);
        pen.beginPath();
        pen.arc(x, y, phone === chosen ? 8 : 5, 0, 2 * Math.PI);
        pen.fill();
        pen.fillText(phone, x + 10, y);
    }
}

// ---- commands and their answers ------------------------------------------------------------------

function sendText(phone, text) {
    const id = String(++asked);
    waiting.set(id, {phone, text});
    client.publish({
        destination: `/topic/jt808/${phone}/down`,
        headers: {"reply-to": `/topic/answers/${$("name").value}`, "correlation-id": id,
                  "content-type": "application/json"},
        body: JSON.stringify({message: "text_message", body: {flag: ["display"], text}}),
    });
    line($("answers"), phone, text);
}

function onAnswer(message) {
    const answer = JSON.parse(message.body), about = waiting.get(message.headers["correlation-id"]);
    waiting.delete(message.headers["correlation-id"]);
    line($("answers"), answer.phone, `${about ? `“${about.text}”: ` : ""}${answer.status}`,
         answer.status !== "ok");
}

// ---- the connection ------------------------------------------------------------------------------

function connected() {
    state("connected");
    client.subscribe("/topic/jt808/+/status", onStatus);
    client.subscribe("/topic/jt808/+/up/0200", onLocation);
    client.subscribe(`/topic/answers/${$("name").value}`, onAnswer);
    client.subscribe("/topic/chat", message =>
        line($("lines"), message.headers.from || "?", message.body));
}

function connect() {
    if (client) client.deactivate();
    client = new StompJs.Client({
        brokerURL: $("url").value,
        connectHeaders: $("user").value ? {login: $("user").value, passcode: $("password").value} : {},
        reconnectDelay: 2000,
        heartbeatIncoming: 10000,
        heartbeatOutgoing: 10000,
        onConnect: connected,
        onStompError: frame => state(`${frame.headers.message}: ${frame.body}`, true),
        onWebSocketClose: () => state("not connected", true),
    });
    state("connecting");
    client.activate();
}

function onSubmit(id, action) {
    $(id).addEventListener("submit", event => {
        event.preventDefault();
        action();
    });
}

onSubmit("login", connect);
onSubmit("command", () => {
    if (!client || !client.connected || !chosen) return;
    sendText(chosen, $("text").value);
    $("text").value = "";
});
onSubmit("say", () => {
    if (!client || !client.connected) return;
    client.publish({destination: "/topic/chat", headers: {from: $("name").value}, body: $("words").value});
    $("words").value = "";
});
