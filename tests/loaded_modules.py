"""What a command loads, asked in a process of its own."""

import subprocess
import sys


def modules_after(*arguments: str) -> set[str]:
    """The modules that are loaded once the command line has run with these arguments."""
    code = (
        "import sys\n"
        f"sys.argv = ['resenc-plans', *{list(arguments)!r}]\n"
        "from resenc_plans.cli.app import main\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        "print('MODULES', *sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.rpartition("MODULES ")[2].split())
