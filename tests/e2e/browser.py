# SPDX-License-Identifier: Apache-2.0
"""A real browser for tests: headless Chromium, driven by chromedriver (W3C WebDriver) with nothing but
the standard library, and a small site that gives it its pages.

    def test_a_page(browser, site):
        site.add("/page.html", "<script src=/mqtt.js></script>")
        site.add("/mqtt.js", pathlib.Path(...))
        browser.open(site.url("/page.html"))
        browser.wait_for("return window.received === 3")
        assert browser.text("#status") == "connected"

The fixtures are in conftest.py; one browser serves the whole run, and each test has pages of its own.
JavaScript clients come from the lock file in js/: `./dev test` installs them in the build folder."""
import http.server
import json
import pathlib
import re
import shutil
import subprocess
import tempfile
import threading
import time
import urllib.error
import urllib.request

from polygate import BUILD, ROOT, TIMEOUT, Lines

MODULES = BUILD / "tests" / "js" / "node_modules"
_TYPES = {".html": "text/html; charset=utf-8", ".js": "text/javascript", ".json": "application/json"}


def module(path):
    """A file of a JavaScript package, such as "mqtt/dist/mqtt.min.js"."""
    file = MODULES / path
    assert file.exists(), (f"{file} is missing: ./dev test installs it, or by hand: npm ci --prefix {BUILD}/tests/js "
                           f"after copying {ROOT}/tests/e2e/js/package*.json there")
    return file


class Site:
    """A web server on 127.0.0.1 that serves exactly what it was given."""

    def __init__(self):
        self._files = {}
        files = self._files

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                body = files.get(self.path.partition("?")[0])
                if isinstance(body, pathlib.Path):
                    body = body.read_bytes()
                self.send_response(404 if body is None else 200)
                suffix = pathlib.PurePath(self.path.partition("?")[0]).suffix
                self.send_header("Content-Type", _TYPES.get(suffix, "application/octet-stream"))
                self.send_header("Content-Length", str(len(body or b"")))
                self.end_headers()
                self.wfile.write(body or b"")

            def log_message(self, *_):
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def add(self, path, body):
        """Serve text, bytes or a file (a Path) below this path."""
        self._files[path] = body.encode() if isinstance(body, str) else body

    @property
    def origin(self):
        return f"http://127.0.0.1:{self._server.server_port}"

    def url(self, path):
        return self.origin + path

    def close(self):
        self._server.shutdown()
        self._server.server_close()


class Browser:
    def __init__(self):
        assert shutil.which("chromedriver"), "chromedriver is missing (Debian: chromium-driver)"
        self._profile = tempfile.TemporaryDirectory(prefix="polygate-browser-", ignore_cleanup_errors=True)
        self._base = f"http://127.0.0.1:{self._start_driver()}"
        # A container has no user namespaces for the sandbox, and little in /dev/shm. Pages and gateways
        # are the test's own, with certificates of its own making.
        options = {"args": ["--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu",
                            "--no-proxy-server", "--no-first-run", f"--user-data-dir={self._profile.name}"]}
        answer = self._call("POST", "/session", {"capabilities": {"alwaysMatch": {
            "browserName": "chrome", "acceptInsecureCerts": True, "goog:chromeOptions": options,
            "goog:loggingPrefs": {"browser": "ALL"},
            "timeouts": {"script": int(TIMEOUT * 1000), "pageLoad": int(TIMEOUT * 1000)}}}})
        self._session = f"/session/{answer['sessionId']}"

    def _start_driver(self):
        """Its port. It takes a free one of IPv6 and wants the same of IPv4, which may be in use: then it ends,
        and another port is tried."""
        for _ in range(10):
            self._driver = subprocess.Popen(["chromedriver", "--port=0"], stdin=subprocess.DEVNULL,
                                            stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
            lines = Lines(self._driver.stdout)
            said = lines.wait(re.compile(r"started successfully on port (\d+)|port not available").search,
                              "chromedriver")[1]
            if said[1]:
                return said[1]
            self._driver.wait(TIMEOUT)
        raise AssertionError("chromedriver: no port that is free in IPv4 and IPv6; 10 were tried")

    def _call(self, method, path, body=None):
        request = urllib.request.Request(self._base + path, method=method,
                                         data=None if body is None else json.dumps(body).encode(),
                                         headers={"Content-Type": "application/json"})
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(request, timeout=2 * TIMEOUT) as answer:
                return json.load(answer)["value"]
        except urllib.error.HTTPError as error:
            value = json.load(error)["value"]
            raise AssertionError(f"{value['error']}: {value['message']}") from None

    def open(self, url):
        """Go to a page and wait until it is loaded."""
        self._call("POST", self._session + "/url", {"url": url})

    def run(self, script, *arguments):
        """The value that this body of a function returns; a promise is waited for."""
        return self._call("POST", self._session + "/execute/sync", {"script": script, "args": list(arguments)})

    def wait_for(self, script, *arguments):
        """Wait until this body of a function returns something true; that."""
        deadline = time.monotonic() + TIMEOUT
        while True:
            value = self.run(script, *arguments)
            if value:
                return value
            assert time.monotonic() < deadline, f"waiting for {script!r}; console: {self.console()}"
            time.sleep(0.02)

    def text(self, selector):
        """What the first element of this CSS selector shows."""
        return self.run("return document.querySelector(arguments[0]).innerText", selector)

    def click(self, selector):
        self.run("document.querySelector(arguments[0]).click()", selector)

    def fill(self, selector, value):
        """Type into a field: its value, with the event that pages listen for."""
        self.run("const field = document.querySelector(arguments[0]); field.value = arguments[1];"
                 "field.dispatchEvent(new Event('input', {bubbles: true}));"
                 "field.dispatchEvent(new Event('change', {bubbles: true}))", selector, value)

    def console(self):
        """What pages wrote to the console, and what the browser has to say, since the last call."""
        return [entry["message"] for entry in
                self._call("POST", self._session + "/se/log", {"type": "browser"})]

    def close(self):
        try:
            self._call("DELETE", self._session)
        finally:
            self._driver.terminate()
            self._driver.wait(TIMEOUT)
            self._profile.cleanup()
