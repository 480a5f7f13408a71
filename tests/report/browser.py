"""A headless Chromium, driven over the pipe of its DevTools protocol: no package is needed."""

import base64
import fcntl
import json
import os
import select
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), ""
)
OPTIONS = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--remote-debugging-pipe", "--no-first-run",
    "--disable-background-networking", "--disable-dev-shm-usage", "--force-color-profile=srgb",
)  # fmt: skip
PATIENCE = 30


class Browser:
    """One process of the browser; messages are JSON, each with a zero byte at its end."""

    def __init__(self) -> None:
        self.folder = tempfile.mkdtemp(prefix="pellucid-chromium-")
        self.pid, self.to, self.back = _start([*OPTIONS, f"--user-data-dir={self.folder}"])
        self.rest, self.number, self.events = b"", 0, []

    def send(self, method: str, session: str = "", **params: Any) -> dict:
        """Call a method and wait for its answer; events that come before it are kept."""
        self.number += 1
        message = {"id": self.number, "method": method, "params": params}
        message |= {"sessionId": session} if session else {}
        os.write(self.to, json.dumps(message).encode() + b"\0")
        while True:
            got = self._receive()
            if got.get("id") == self.number:
                assert "error" not in got, got["error"]
                return got["result"]
            self.events.append(got)

    def tab(self) -> "Tab":
        """A new tab."""
        return Tab(self)

    def close(self) -> None:
        """End the process, and leave nothing behind."""
        self.send("Browser.close")
        os.waitpid(self.pid, 0)
        os.close(self.to), os.close(self.back)
        shutil.rmtree(self.folder, ignore_errors=True)

    def _receive(self) -> dict:
        while b"\0" not in self.rest:
            ready, _, _ = select.select([self.back], [], [], PATIENCE)
            assert ready, "the browser does not answer"
            self.rest += os.read(self.back, 1 << 20)
        message, _, self.rest = self.rest.partition(b"\0")
        return json.loads(message)


class Tab:
    """One page; what it logs and asks of the network is among the events of the browser."""

    def __init__(self, browser: Browser) -> None:
        self.browser = browser
        self.target = browser.send("Target.createTarget", url="about:blank")["targetId"]
        found = browser.send("Target.attachToTarget", targetId=self.target, flatten=True)
        self.session = found["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.send(f"{domain}.enable")
        self.send("Emulation.setScrollbarsHidden", hidden=True)

    def open(self, path: Path, *, width: int = 1200, dark: bool = False) -> "Tab":
        """Open a file from the disk, as if in a new tab."""
        self.send("Page.navigate", url="about:blank")
        self.send("Page.bringToFront")  # keys go to the page in front
        self.send("Emulation.setScriptExecutionDisabled", value=False)
        self.resize(width)
        self.color_scheme("dark" if dark else "light")
        self.browser.events = [e for e in self.browser.events if e not in self._mine()]
        self.go(f"file://{path}")
        return self

    def send(self, method: str, **params: Any) -> dict:
        """Call a method of this page."""
        return self.browser.send(method, self.session, **params)

    def resize(self, width: int) -> None:
        """Make the window so wide."""
        size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
        self.send("Emulation.setDeviceMetricsOverride", **size)

    def color_scheme(self, value: str, media: str = "") -> None:
        """Prefer light or dark pages, and pages that do not move; on a screen or in print."""
        features = [{"name": "prefers-color-scheme", "value": value}]
        features += [{"name": "prefers-reduced-motion", "value": "reduce"}]
        self.send("Emulation.setEmulatedMedia", media=media, features=features)

    def go(self, url: str) -> None:
        """Load an address, and wait until its script has drawn what is to be seen."""
        self.send("Page.navigate", url="about:blank")
        self.send("Page.navigate", url=url)
        self.until("document.readyState === 'complete' && location.href !== 'about:blank'")
        self.settle()

    def settle(self) -> None:
        """Wait until the values of all maps are there, and what waits for them has been drawn."""
        unpacked = "Promise.all([...document.querySelectorAll('main .frame')].map(valuesOf))"
        # A page hears of another color scheme when its next frame begins, however late that is.
        frame = "new Promise((done) => requestAnimationFrame(() => setTimeout(done)))"
        self.run(f"{frame}.then(() => {unpacked}).then(() => {frame})")

    def run(self, code: str) -> Any:
        """The value of an expression in the page, after it is fulfilled if it is a promise."""
        answer = self.send(
            "Runtime.evaluate", expression=code, returnByValue=True, awaitPromise=True
        )
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def until(self, condition: str) -> None:
        """Wait for a condition of the page."""
        end = time.monotonic() + PATIENCE
        while not self.run(condition):
            assert time.monotonic() < end, condition
            time.sleep(0.02)

    def key(self, name: str, text: str = "") -> None:
        """Press and release a key."""
        code = {"Tab": 9, "Enter": 13, "Escape": 27, "ArrowLeft": 37, "ArrowUp": 38,
                "ArrowRight": 39, "ArrowDown": 40, "Home": 36, "End": 35}.get(name, 0)  # fmt: skip
        key = {"key": name, "windowsVirtualKeyCode": code}
        key |= {"text": text} if text else {}
        self.send("Input.dispatchKeyEvent", type="keyDown", **key)
        self.send("Input.dispatchKeyEvent", type="keyUp", **key)

    def mouse(self, kind: str, x: float, y: float, **more: Any) -> None:
        """Send one event of the mouse."""
        self.send("Input.dispatchMouseEvent", type=kind, x=x, y=y, **more)

    def click(self, x: float, y: float) -> None:
        """Click with the left button."""
        for kind in ("mousePressed", "mouseReleased"):
            self.mouse(kind, x, y, button="left", clickCount=1)

    def center(self, selector: str) -> tuple[float, float]:
        """Scroll to an element, and say where its middle is."""
        box = f"document.querySelector({json.dumps(selector)})"
        self.run(f"{box}.scrollIntoView({{block: 'center', behavior: 'instant'}})")
        return tuple(
            self.run(
                f"(() => {{ const b = {box}.getBoundingClientRect();"
                "return [b.left + b.width / 2, b.top + b.height / 2]; })()"
            )
        )

    def screenshot(self, *, whole: bool = False) -> bytes:
        """What is seen, or the whole page, as PNG."""
        return base64.b64decode(
            self.send("Page.captureScreenshot", captureBeyondViewport=whole)["data"]
        )

    def pdf(self) -> bytes:
        """The page as it is printed."""
        return base64.b64decode(self.send("Page.printToPDF", printBackground=True)["data"])

    def complaints(self) -> list[str]:
        """Errors and warnings on the console, and exceptions."""
        kinds = ("Runtime.exceptionThrown", "Runtime.consoleAPICalled", "Log.entryAdded")
        return [json.dumps(event["params"]) for event in self._mine() if event["method"] in kinds]

    def requests(self) -> list[str]:
        """The addresses that the page asked for."""
        return [
            event["params"]["request"]["url"]
            for event in self._mine()
            if event["method"] == "Network.requestWillBeSent"
        ]

    def _mine(self) -> list[dict]:
        return [event for event in self.browser.events if event.get("sessionId") == self.session]


def _start(options: list[str]) -> tuple[int, int, int]:
    """Start the browser with its pipes as files 3 and 4; give its process, and our ends."""
    commands, to = os.pipe()
    back, answers = os.pipe()
    quiet = os.open(os.devnull, os.O_RDWR)
    # Out of the way of 3 and 4, on which they are laid in the new process.
    ends = [fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, 64) for end in (commands, answers)]
    laid = [(os.POSIX_SPAWN_DUP2, ends[0], 3), (os.POSIX_SPAWN_DUP2, ends[1], 4)]
    laid += [(os.POSIX_SPAWN_DUP2, quiet, 1), (os.POSIX_SPAWN_DUP2, quiet, 2)]
    pid = os.posix_spawn(CHROMIUM, [CHROMIUM, *options], os.environ, file_actions=laid)
    for end in (commands, answers, quiet, *ends):
        os.close(end)
    return pid, to, back
