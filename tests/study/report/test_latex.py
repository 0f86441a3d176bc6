"""The LaTeX table."""

import shutil
import subprocess
from pathlib import Path

import pytest

from resenc_plans.study.report.latex import escaped, latex_table
from tests.study.report.made_comparison import made_comparison


def test_the_table_has_a_row_per_method_with_its_interval_and_budget(tmp_path: Path) -> None:
    text = latex_table(made_comparison(tmp_path, budgets={"a|b": "12h,9.1GB"}))
    rows = [line for line in text.splitlines() if line.endswith(r"\\")]
    assert rows[1] == r" & $n=30$ & [GB] & [h] \\"
    assert rows[2].startswith(r"large\_50\% & \textbf{")
    assert rows[3].startswith(r"small \& \textless{}plain\textgreater{} & 8")
    assert rows[4].endswith(r"& 9.1 & 12 \\")
    assert text.count("{") == text.count("}")


def test_a_name_in_brackets_is_no_option_of_the_row_before() -> None:
    assert escaped("[a] 50% & $x_1$") == r"{[}a{]} 50\% \& \$x\_1\$"


@pytest.mark.slow
def test_the_table_compiles(tmp_path: Path) -> None:
    if shutil.which("pdflatex") is None:
        pytest.skip("pdflatex is not installed (Debian: texlive-latex-recommended)")
    table = latex_table(made_comparison(tmp_path))
    document = rf"\documentclass{{article}}\usepackage{{booktabs}}\begin{{document}}{table}"
    (tmp_path / "t.tex").write_text(document + r"\end{document}")
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "t.tex"]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
    assert (tmp_path / "t.pdf").is_file()
