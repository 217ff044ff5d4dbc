# SPDX-License-Identifier: Apache-2.0
"""Fixtures of the end-to-end tests, and the line of results that tests/count reads."""
import re
import shutil

import pytest

import polygate
from browser import Browser, Site


@pytest.hookimpl(hookwrapper=True, tryfirst=True)
def pytest_runtest_makereport(item):
    outcome = yield
    report = outcome.get_result()
    item.results = getattr(item, "results", []) + [report]


@pytest.fixture
def folder(request):
    """A folder of the test's own, below the build folder; it stays if the test fails."""
    name = re.sub(r"[^\w.-]+", "_", request.node.nodeid.split("::", 1)[-1])[:100]
    path = polygate.BUILD / "tests" / "e2e" / name
    shutil.rmtree(path, ignore_errors=True)
    path.mkdir(parents=True)
    yield path
    if not any(report.failed for report in request.node.results):
        shutil.rmtree(path, ignore_errors=True)


@pytest.fixture
def gateway(folder):
    """A function that starts gateways as polygate.Gateway's arguments say. At the end each one
    still running is stopped and judged: exit status 0, no sanitizer report."""
    started = []

    def start(config="", name=None, launch_only=False, **arguments):
        gw = polygate.Gateway(folder / (name or f"gateway{len(started)}"), config, **arguments)
        started.append(gw)
        return gw.launch() if launch_only else gw.start()

    yield start
    failures = []
    for gw in started:
        try:
            gw.stop()
        except AssertionError as error:
            failures.append(str(error))
    # The teardown of a test that broke things must not hide its logs.
    if failures:
        print(f"logs are in {folder}")
        pytest.fail("\n".join(failures), pytrace=False)


@pytest.fixture(scope="session")
def browser_of_the_run():
    started = Browser()
    yield started
    started.close()


@pytest.fixture
def browser(browser_of_the_run):
    """A browser, on an empty page before and after the test; see browser.py."""
    browser_of_the_run.open("about:blank")
    yield browser_of_the_run
    browser_of_the_run.open("about:blank")


@pytest.fixture
def site():
    """A web server for the browser's pages."""
    started = Site()
    yield started
    started.close()


def pytest_terminal_summary(terminalreporter):
    """An error in a fixture fails its test, whatever the test's own result was."""
    bad = {r.nodeid for kind in ("failed", "error") for r in terminalreporter.stats.get(kind, [])
           if hasattr(r, "nodeid")}
    good = {r.nodeid for r in terminalreporter.stats.get("passed", [])
            if getattr(r, "when", "") == "call"} - bad
    skipped = len(terminalreporter.stats.get("skipped", []))
    terminalreporter.write_line(
        f"polygate-test: e2e passed={len(good)} failed={len(bad)} skipped={skipped}")
