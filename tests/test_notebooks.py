"""The notebooks: each runs afresh and is kept with its outputs, without traces of a machine."""

import json
import os
import re
import sys
from pathlib import Path

import nbformat
import pytest
from jupyter_client.kernelspec import KernelSpecManager
from jupyter_client.manager import AsyncKernelManager
from nbclient import NotebookClient

import jrnn

FOLDER = Path(__file__).parents[1] / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
SECONDS = 240  # for one cell, on a machine that is busy with other tests
PATHS = re.compile(r"/(?:home|private|root|tmp|usr|var|work|Users|opt|mnt)/|[A-Z]:\\\\")

every_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


@pytest.fixture(scope="module")
def kernels(tmp_path_factory):
    """The kernels there are: one, which is this very interpreter, installed or not."""
    folder = tmp_path_factory.mktemp("kernels")
    command = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    spec = {"argv": command, "display_name": "Python 3", "language": "python"}
    (folder / "python3").mkdir()
    (folder / "python3" / "kernel.json").write_text(json.dumps(spec))
    return KernelSpecManager(kernel_dirs=[str(folder)], ensure_native_kernel=False)


def execute(notebook, kernels, folder):
    """Returns the notebook with what its cells put out, run in a folder of its own."""
    paths = [str(Path(jrnn.__file__).parents[1]), os.environ.get("PYTHONPATH", "")]
    environment = {
        **os.environ,
        "IPYTHONDIR": str(folder / "ipython"),  # no startup files of whoever runs the tests
        "JAX_PLATFORMS": "cpu",
        "MPLBACKEND": "module://matplotlib_inline.backend_inline",
        "PYTHONPATH": os.pathsep.join(filter(None, paths)),
    }
    manager = AsyncKernelManager(kernel_name="python3", kernel_spec_manager=kernels)
    resources = {"metadata": {"path": str(folder)}}
    client = NotebookClient(notebook, km=manager, timeout=SECONDS, resources=resources)
    return client.execute(env=environment)


def code_cells(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def outputs(notebook):
    return [output for cell in code_cells(notebook) for output in cell.outputs]


def pictures(notebook):
    return [
        output.data["image/png"]
        for output in outputs(notebook)
        if "image/png" in output.get("data", {})
    ]


def printed(notebook, name="stdout"):
    streams = [output for output in outputs(notebook) if output.output_type == "stream"]
    return "".join(output.text for output in streams if output.name == name)


def test_there_are_eight():
    assert [path.stem[:2] for path in NOTEBOOKS] == [f"{number:02}" for number in range(1, 9)]


def test_the_kernel_is_this_interpreter_with_this_jrnn(kernels, tmp_path):
    cell = nbformat.v4.new_code_cell("import jrnn, sys\nprint(sys.executable, jrnn.__file__)")
    notebook = execute(nbformat.v4.new_notebook(cells=[cell]), kernels, tmp_path)
    assert printed(notebook).split() == [sys.executable, jrnn.__file__]


def test_a_cell_that_fails_is_noticed(kernels, tmp_path):
    cell = nbformat.v4.new_code_cell("assert 1 + 1 == 3")
    with pytest.raises(Exception, match="AssertionError"):
        execute(nbformat.v4.new_notebook(cells=[cell]), kernels, tmp_path)


@every_notebook
def test_runs_afresh(path, kernels, tmp_path):
    notebook = execute(nbformat.read(path, as_version=4), kernels, tmp_path)
    assert pictures(notebook)
    assert "Traceback" not in printed(notebook, "stderr")


@every_notebook
def test_is_kept_with_outputs(path):
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    assert 8 <= len(notebook.cells) <= 14
    numbers = [cell.execution_count for cell in code_cells(notebook)]
    assert numbers == list(range(1, len(numbers) + 1))  # run once, in order, from the top
    assert all(cell.outputs for cell in code_cells(notebook))
    assert not printed(notebook, "stderr")
    assert pictures(notebook)
    assert max(map(len, pictures(notebook))) < 4 / 3 * 60 * 1024  # base64


@every_notebook
def test_says_its_question_and_nothing_of_a_machine(path):
    notebook = nbformat.read(path, as_version=4)
    first, last = notebook.cells[0].source, notebook.cells[-1].source
    assert re.match(r"# .+\n\n\*\*Question:\*\* .+\n\n?(.+\n)*\n\*\*Answer:\*\* ", first), first
    assert "../docs/" in last
    for target in re.findall(r"\]\(([^)#]+)", last):
        assert target.startswith("https://") or (FOLDER / target).exists(), target
    assert notebook.metadata.kernelspec.name == "python3"
    assert not PATHS.search(re.sub(r'"image/png": "[^"]*"', "", path.read_text()))
    assert all(cell.metadata == {} for cell in notebook.cells)  # no times of execution
