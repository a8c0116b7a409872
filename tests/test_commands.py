"""The commands from their first moment on: before the package is imported."""

from __future__ import annotations

import importlib.metadata
import os
import signal
import subprocess
import sys

import pytest
import tvm_coexec_commands as commands

# A command whose module takes long to import, and one whose main says what it finds.
SLOW = "import time\nprint('importing', flush=True)\ntime.sleep(60)\ndef main(): pass\n"
QUICK = """
import signal
try:
    import sklearn
    found = "sklearn while importing"
except ImportError:
    found = "no sklearn while importing"
def main():
    import sklearn
    print(found, "|", sklearn.name, "|", signal.getsignal(signal.SIGINT).__name__)
    return 3
"""
START = "import sys, tvm_coexec_commands; sys.exit(tvm_coexec_commands.start('command'))"


@pytest.fixture
def environment(tmp_path):
    (tmp_path / "sklearn.py").write_text("name = 'the real one'\n")
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), *filter(None, sys.path)])}


def test_ctrl_c_while_importing_ends_the_process_without_a_traceback(tmp_path, environment, interrupts):
    (tmp_path / "command.py").write_text(SLOW)
    command = [sys.executable, "-c", START]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"importing\n"
        process.send_signal(signal.SIGINT)
        assert process.communicate(timeout=30) == (b"", b"")
    assert process.returncode == -signal.SIGINT


def test_scikit_learn_is_hidden_only_while_importing_and_the_status_is_the_command_s(tmp_path, environment, interrupts):
    (tmp_path / "command.py").write_text(QUICK)
    done = subprocess.run([sys.executable, "-c", START], env=environment, capture_output=True, text=True, timeout=60)
    assert done.stdout == "no sklearn while importing | the real one | default_int_handler\n"
    assert done.returncode == 3 and done.stderr == ""


def test_a_module_that_is_loaded_stays():
    with commands.hide_module("os"):
        import os as again

        assert again is os
    assert sys.modules["os"] is os


def test_a_module_whose_import_fails_is_hidden_no_longer(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "broken_command.py").write_text("raise RuntimeError('no such device')\n")
    monkeypatch.delitem(sys.modules, "sklearn", raising=False)
    with pytest.raises(RuntimeError, match="no such device"):
        commands.start("broken_command")
    assert "sklearn" not in sys.modules


def test_an_ignored_interrupt_stays_ignored():
    """As for a command that was started with nohup."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with commands.interrupt_silently():
            assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


def test_console_scripts_start_here():
    try:
        scripts = importlib.metadata.distribution("tvm-coexec").entry_points
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("tvm-coexec runs from its sources here")
    found = {s.name: s.load() for s in scripts if s.group == "console_scripts"}
    assert found == {"coexec": commands.coexec, "tvmc": commands.tvmc}
