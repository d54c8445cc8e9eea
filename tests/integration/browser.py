# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A real browser without a window: Chromium, controlled by its own protocol over a pipe."""

from __future__ import annotations

import base64
import fcntl
import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PROGRAMS = ("chromium", "chromium-browser", "google-chrome")

# Seconds.
_ANSWERED_WITHIN = 60


def program() -> str | None:
    return next((path for path in map(shutil.which, PROGRAMS) if path), None)


@dataclass
class Browser:
    """One tab."""

    _commands: int
    _answers: int
    _session: str = ""
    _number: int = 0
    _unread: bytes = b""

    @classmethod
    @contextmanager
    def started(cls, folder: Path) -> Iterator[Browser]:
        path = program()
        if path is None:
            raise RuntimeError("there is no Chromium")
        (theirs_in, commands), (answers, theirs_out) = _pipe(), _pipe()

        def pass_on() -> None:
            os.dup2(theirs_in, 3)
            os.dup2(theirs_out, 4)

        with subprocess.Popen(
            [
                path, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--disable-dev-shm-usage",
                "--no-first-run", "--disable-background-networking", "--disable-component-update",
                f"--user-data-dir={folder}", "--remote-debugging-pipe", "about:blank",
            ],
            preexec_fn=pass_on, close_fds=False, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            env={**os.environ, "HOME": str(folder)},
        ) as process:  # fmt: skip
            os.close(theirs_in)
            os.close(theirs_out)
            browser = cls(commands, answers)
            try:
                browser._open_tab()
                yield browser
                browser.send("Browser.close")
            finally:
                process.terminate()
                os.close(commands)
                os.close(answers)

    def _open_tab(self) -> None:
        target = self.send("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.send("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Network"):
            self.send(f"{domain}.enable")

    def send(self, method: str, **parameters: Any) -> Any:
        self._number += 1
        message: dict[str, Any] = {"id": self._number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._commands, json.dumps(message).encode() + b"\0")
        deadline = time.monotonic() + _ANSWERED_WITHIN
        while time.monotonic() < deadline:
            answer = self._read()
            if answer.get("id") == self._number:
                if "error" in answer:
                    raise RuntimeError(answer["error"]["message"])
                return answer["result"]
        raise TimeoutError(method)

    def _read(self) -> Any:
        while b"\0" not in self._unread:
            received = os.read(self._answers, 1 << 20)
            if not received:
                raise RuntimeError("Chromium has ended")
            self._unread += received
        message, _end, self._unread = self._unread.partition(b"\0")
        return json.loads(message)

    def open(self, path: Path, width: int = 1160, height: int = 900, dark: bool = False) -> None:
        self.send("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.send("Emulation.setEmulatedMedia", features=[scheme])
        self.send("Page.navigate", url=path.resolve().as_uri())
        deadline = time.monotonic() + _ANSWERED_WITHIN
        while self.ask("document.readyState") != "complete" or self.ask("location.protocol") != "file:":
            assert time.monotonic() < deadline
            time.sleep(0.05)

    def ask(self, expression: str) -> Any:
        """The value of an expression of JavaScript in the page."""
        answer = self.send("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in answer:
            raise RuntimeError(str(answer["exceptionDetails"]))
        return answer["result"].get("value")

    def screenshot(self, path: Path) -> bytes:
        """As PNG, also in this file."""
        content = base64.b64decode(self.send("Page.captureScreenshot", format="png")["data"])
        path.write_bytes(content)
        return content

    def print(self, path: Path) -> bytes:
        """As PDF, also in this file."""
        content = base64.b64decode(self.send("Page.printToPDF", printBackground=True)["data"])
        path.write_bytes(content)
        return content


def _pipe() -> tuple[int, int]:
    """With numbers above those that Chromium expects its own to have."""
    ends = os.pipe()
    above = [fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, 10) for end in ends]
    for end in ends:
        os.close(end)
    return above[0], above[1]
