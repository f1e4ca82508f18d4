"""A headless Chromium that is driven through two pipes (the DevTools protocol), without another package."""

import base64
import contextlib
import itertools
import json
import os
import re
import select
import shutil
import subprocess
import time

PROGRAM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)

# All elements of a page, those of its parts with a document of their own (shadow roots) too; and all its words.
EVERY = "((all) => all(all, document.body))((all, one) => [one, ...[...(one.shadowRoot?.children ?? []), "
EVERY += (
    "...one.children].filter((part) => !/STYLE|SCRIPT|TEMPLATE/.test(part.tagName)).flatMap((part) => all(all, part))])"
)
OWN_WORDS = "[...part.childNodes].filter((node) => node.nodeType === 3).map((node) => node.data.trim())"
WORDS = f"{EVERY}.flatMap((part) => {OWN_WORDS}).filter((words) => words).join('\\n')"


class Browser:
    """One page of a browser."""

    def __init__(self, profile):
        (theirs, self.send), (self.receive, back) = os.pipe(), os.pipe()
        words = f'exec "$@" 3<&{theirs} 4>&{back}'
        options = [
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--remote-debugging-pipe",
        ]
        options += [f"--user-data-dir={profile}", "--no-first-run", "--disable-background-networking", "about:blank"]
        self.process = subprocess.Popen(
            ["bash", "-c", words, "bash", PROGRAM, *options], pass_fds=(theirs, back), stderr=subprocess.DEVNULL
        )
        os.close(theirs)
        os.close(back)
        self.numbers, self.rest, self.events, self.session = itertools.count(1), b"", [], None
        targets = self.call("Target.getTargets")["targetInfos"]
        target = next(one["targetId"] for one in targets if one["type"] == "page")
        self.session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Network", "Runtime"):
            self.call(f"{domain}.enable")
        self.call("Emulation.setFocusEmulationEnabled", enabled=True)

    def call(self, method, **parameters):
        """The result of a method; what happens meanwhile is kept in `events`."""
        number = next(self.numbers)
        message = {"id": number, "method": method, "params": parameters}
        if self.session:
            message["sessionId"] = self.session
        os.write(self.send, json.dumps(message).encode() + b"\0")
        return self._until(lambda told: told.get("id") == number, method)["result"]

    def open(self, path, width, height=900):
        """Show a file at a width in pixels; wait until it is loaded."""
        self.visit(path.as_uri(), width, height)

    def visit(self, url, width, height=900):
        """Show an address at a width in pixels; wait until it is loaded."""
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=True)
        self.call("Page.navigate", url=url)
        self._until(lambda told: told.get("method") == "Page.loadEventFired", "load")

    def value(self, expression):
        """The value of an expression of JavaScript in the page, or of its promise."""
        result = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in result, result
        return result["result"].get("value")

    def wait(self, expression, timeout_s=30):
        """The value of an expression as soon as it is true of the page."""
        end = time.monotonic() + timeout_s
        while not (value := self.value(expression)):
            assert time.monotonic() < end, f"{expression}: not true of a page that says {self.value(WORDS)}"
            time.sleep(0.1)
        return value

    def picture(self, path):
        """The whole page as PNG."""
        data = self.call("Page.captureScreenshot", captureBeyondViewport=True)["data"]
        path.write_bytes(base64.b64decode(data))

    def printed(self, path):
        """Print the page to a PDF; how many pages that has."""
        data = base64.b64decode(self.call("Page.printToPDF", preferCSSPageSize=True, printBackground=True)["data"])
        path.write_bytes(data)
        return len(re.findall(rb"/Type\s*/Page\b(?!s)", data))

    def requested(self):
        """The addresses that were asked for, without data in the page itself."""
        asked = [
            told["params"]["request"]["url"] for told in self.events if told["method"] == "Network.requestWillBeSent"
        ]
        return [url for url in asked if not url.startswith("data:")]

    def _until(self, wanted, what, timeout_s=60):
        end = time.monotonic() + timeout_s
        while True:
            while b"\0" in self.rest:
                line, self.rest = self.rest.split(b"\0", 1)
                told = json.loads(line)
                if "method" in told:
                    self.events.append(told)
                if wanted(told):
                    assert "error" not in told, told
                    return told
            assert time.monotonic() < end, f"the browser does not answer: {what}"
            if select.select([self.receive], [], [], 1)[0]:
                self.rest += os.read(self.receive, 1 << 20)

    def close(self):
        """End the browser."""
        with contextlib.suppress(AssertionError, BrokenPipeError):
            self.session = None
            self.call("Browser.close")
        os.close(self.send)
        os.close(self.receive)
        self.process.wait(timeout=30)
