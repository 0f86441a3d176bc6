import os
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.skipif(os.name != "posix", reason="needs a pseudo-terminal")
def test_a_narrow_terminal_cuts_no_number(here: Path) -> None:
    import pty

    controller, terminal = pty.openpty()
    environment = {**os.environ, "COLUMNS": "40", "TERM": "xterm", "NO_COLOR": "1"}
    done = subprocess.Popen(
        [sys.executable, "-m", "resenc_plans", "show"], stdout=terminal, cwd=here, env=environment
    )
    os.close(terminal)
    done.wait()
    output = os.read(controller, 65536).decode()
    os.close(controller)
    assert "32x64x64" in output
    assert "ResidualEncoderUNet" in output
