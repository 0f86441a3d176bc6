"""Run the commands and the Python code of Markdown files, and hold their output to what is shown.

`python docs/run.py` checks README.md and docs/*.md; `--update` writes what the commands print into
them. Blocks of a file run in order, in one new folder: a `console` block line by line (what follows
`$ `, under a terminal of 100 columns without colours), a `python` block as a script.
"""

import argparse
import difflib
import os
import pty
import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FILES = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
WIDTH = 100
_BLOCK = re.compile(r"^```(console|python)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


class Session:
    """A folder in which the commands of one file run, one after the other."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._where = folder
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        self._environment = {
            key: value for key, value in os.environ.items() if not key.startswith("nnUNet_")
        } | {"PATH": path, "COLUMNS": str(WIDTH), "NO_COLOR": "1", "TERM": "xterm"}
        self._environment["XDG_CONFIG_HOME"] = str(folder / ".settings")

    def command(self, line: str) -> str:
        """What a shell command prints: its notes on stderr, then what stdout shows on a terminal.

        The next command begins in the folder where this one ended.
        """
        marker = self.folder / ".where"
        script = f"{line}\ncode=$?; pwd > {marker}; exit $code"
        controller, terminal = pty.openpty()
        with (
            tempfile.TemporaryFile() as notes,
            subprocess.Popen(
                ["bash", "-c", script],
                stdin=subprocess.DEVNULL,
                stdout=terminal,
                stderr=notes,
                cwd=self._where,
                env=self._environment,
            ) as process,
        ):
            os.close(terminal)
            output = _read_all(controller)
            process.wait()
            notes.seek(0)
            output = notes.read().decode() + output
        self._where = Path(marker.read_text().strip())
        marker.unlink()
        return _plain(output)

    def script(self, code: str) -> str:
        """What a Python script prints."""
        done = subprocess.run(
            [sys.executable, "-c", code],
            cwd=self._where,
            env=self._environment,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise SystemExit(f"A python block failed:\n{code}\n{done.stderr}")
        return done.stdout


def rendered(text: str) -> str:
    """The Markdown text with the output that its commands have now."""
    with tempfile.TemporaryDirectory() as folder:
        session = Session(Path(folder))

        def run(match: re.Match[str]) -> str:
            language, body = match.groups()
            if language == "python":
                session.script(body)
                return match[0]
            lines = []
            for line in body.splitlines():
                if line.startswith("$ "):
                    lines += [line, session.command(line[2:])]
            return "```console\n" + "".join(f"{x}\n" for x in lines if x) + "```"

        return _BLOCK.sub(run, text)


def _read_all(descriptor: int) -> str:
    chunks: list[bytes] = []
    while True:
        try:
            chunk = os.read(descriptor, 65536)
        except OSError:  # Linux says so when the last writer has closed the terminal
            chunk = b""
        if not chunk:
            os.close(descriptor)
            return b"".join(chunks).decode()
        chunks.append(chunk)


def _plain(output: str) -> str:
    text = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", output.replace("\r\n", "\n"))
    lines = [line.rpartition("\r")[2].rstrip() for line in text.splitlines()]
    return "\n".join(lines).strip("\n")


def main() -> None:
    """Check the files, or with `--update` write them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--update", action="store_true")
    parser.add_argument("files", nargs="*", type=Path, default=FILES)
    arguments = parser.parse_args()
    drifted = False
    for path in arguments.files:
        old = path.read_text(encoding="utf-8")
        new = rendered(old)
        if arguments.update:
            path.write_text(new, encoding="utf-8")
        elif new != old:
            drifted = True
            print(
                *difflib.unified_diff(old.splitlines(), new.splitlines(), str(path), "now"),
                sep="\n",
            )
    if drifted:
        sys.exit(
            "The output shown is not what the commands print. Run: python docs/run.py --update"
        )


if __name__ == "__main__":
    main()
