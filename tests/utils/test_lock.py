"""A lock that is a file: one holder at a time, whoever dies, on one machine or several."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from helpers import REPOSITORY

from rfdn_plugin.utils.errors import RFDNError
from rfdn_plugin.utils.lock import Lock

HOLD = """
import sys, time
from rfdn_plugin.utils.lock import Lock
with Lock(sys.argv[1], 'the thing', 'take another'):
    print('held', flush=True)
    time.sleep(60)
"""


def lock(path: Path) -> Lock:
    return Lock(path, 'the thing', 'take another')


def holder(path: Path) -> subprocess.Popen:
    """A process that holds the lock."""
    env = {**os.environ, 'PYTHONPATH': str(REPOSITORY)}
    process = subprocess.Popen([sys.executable, '-c', HOLD, str(path)], stdout=subprocess.PIPE, text=True, env=env)
    assert process.stdout.readline() == 'held\n'
    return process


def rewrite(path: Path, age: float, **changes: str) -> None:
    """Change what the file says of its owner, and when it was touched last."""
    content = json.loads(path.read_text())
    path.write_text(json.dumps({**content, **changes}))
    os.utime(path, (time.time() - age,) * 2)


def test_it_is_given_back_and_leaves_nothing(tmp_path):
    path = tmp_path / 'below' / '.lock'
    for _ in range(2):
        with lock(path):
            assert path.is_file() and len(list(path.parent.iterdir())) == 1
        assert list(tmp_path.iterdir()) == []


def test_a_full_disk_keeps_nobody_from_giving_it_back(tmp_path, monkeypatch):
    def full(*_, **__):
        raise OSError(errno.ENOSPC, 'No space left on device')

    with lock(tmp_path / 'lock') as held:
        monkeypatch.setattr('tempfile.TemporaryFile', full)
        held.check()
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_was_made_for_it_goes_where_nothing_came_into_it(tmp_path):
    with lock(tmp_path / 'a' / 'b' / 'lock'):
        pass
    assert list(tmp_path.iterdir()) == []
    with lock(tmp_path / 'a' / 'b' / 'lock'):
        (tmp_path / 'a' / 'result').touch()
    assert [path.name for path in (tmp_path / 'a').iterdir()] == ['result']


def test_an_error_gives_it_back(tmp_path):
    with pytest.raises(ValueError), lock(tmp_path / 'lock'):
        raise ValueError
    assert list(tmp_path.iterdir()) == []


def test_a_second_process_is_refused_with_host_and_number(tmp_path):
    process = holder(tmp_path / 'lock')
    try:
        with pytest.raises(RFDNError) as error:
            lock(tmp_path / 'lock').acquire()
    finally:
        process.kill()
        process.wait()
    message = str(error.value)
    assert f'process {process.pid} on {os.uname().nodename} since 20' in message and '\n' not in message
    assert 'take another' in message and str(tmp_path / 'lock') in message


@pytest.mark.parametrize('reap', [True, False], ids=['ended', 'a zombie'])
def test_the_lock_of_a_killed_process_is_taken_over_at_once(tmp_path, reap):
    process = holder(tmp_path / 'lock')
    process.kill()
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    if reap:
        process.wait()
    with lock(tmp_path / 'lock') as taken:
        taken.check()
    assert list(tmp_path.iterdir()) == []
    process.wait()


def test_a_stopped_process_of_this_machine_keeps_it(tmp_path, monkeypatch):
    """It shows no sign of life, and lives."""
    process = holder(tmp_path / 'lock')
    os.kill(process.pid, signal.SIGSTOP)
    os.utime(tmp_path / 'lock', (0, 0))
    try:
        with pytest.raises(RFDNError):
            lock(tmp_path / 'lock').acquire()
    finally:
        process.kill()
        process.wait()


def test_another_process_of_the_same_number_is_not_the_holder(tmp_path):
    with lock(tmp_path / 'lock') as first:
        rewrite(tmp_path / 'lock', 0, born='1')  # this process is alive, and was not born then
        with lock(tmp_path / 'lock'), pytest.raises(RFDNError, match='has taken it over'):
            first.check()


@pytest.mark.parametrize('machine', ['another boot pid:[1]', ''], ids=['another machine', 'a system without /proc'])
def test_on_another_machine_the_heartbeat_decides(tmp_path, machine):
    path = tmp_path / 'lock'
    mine = lock(path)
    mine.acquire()
    rewrite(path, Lock.STALE_SECONDS - 5, machine=machine, host='node7')
    with pytest.raises(RFDNError, match=r'on node7 .*last sign of life 17\d s ago'):
        lock(path).acquire()
    rewrite(path, Lock.STALE_SECONDS + 5)
    with lock(path), pytest.raises(RFDNError, match='has taken it over'):
        mine.check()
    mine.release()  # which is not its own any more: nothing to remove
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize('content', ['', '{"host": "x"}', 'no JSON'])
def test_a_file_that_says_nothing_holds_until_it_is_old(tmp_path, content):
    path = tmp_path / 'lock'
    path.write_text(content)
    with pytest.raises(RFDNError, match='does not say by whom'):
        lock(path).acquire()
    os.utime(path, (time.time() - Lock.STALE_SECONDS - 5,) * 2)
    with lock(path):
        pass


def test_it_shows_signs_of_life(tmp_path, monkeypatch):
    monkeypatch.setattr(Lock, 'HEARTBEAT_SECONDS', 0.02)
    path = tmp_path / 'lock'
    with lock(path):
        os.utime(path, (0, 0))
        deadline = time.monotonic() + 5
        while path.stat().st_mtime == 0:
            assert time.monotonic() < deadline
            time.sleep(0.01)


def test_a_removed_file_is_noticed(tmp_path):
    with lock(tmp_path / 'lock') as held:
        (tmp_path / 'lock').unlink()
        with pytest.raises(RFDNError, match='was removed'):
            held.check()


def test_a_forked_child_does_not_give_it_back(tmp_path):
    with lock(tmp_path / 'lock') as held:
        child = os.fork()
        if child == 0:
            held.release()
            os._exit(0)
        os.waitpid(child, 0)
        held.check()


@pytest.mark.parametrize('links', [True, False], ids=['links', 'a file system without links'])
@pytest.mark.parametrize('stale', [False, True], ids=['free', 'stale'])
def test_of_many_that_want_it_one_at_a_time_has_it(tmp_path, links, stale):
    """Each adds one to a number in a file, in two steps that another would spoil."""
    path, number = tmp_path / 'lock', tmp_path / 'number'
    number.write_text('0')
    if stale:
        with lock(path):
            content = path.read_text()
        path.write_text(content)
        rewrite(path, 0, born='1')
    code = f"""
import os, time
from rfdn_plugin.utils.errors import RFDNError
from rfdn_plugin.utils.lock import Lock
if not {links}:
    def link(*paths): raise PermissionError
    os.link = link
done = 0
while done < 15:
    try:
        with Lock({str(path)!r}, 'the thing', 'take another'):
            before = int(open({str(number)!r}).read())
            time.sleep(0.001)
            open({str(number)!r}, 'w').write(str(before + 1))
            done += 1
    except RFDNError:
        time.sleep(0.001)
"""
    env = {**os.environ, 'PYTHONPATH': str(REPOSITORY)}
    processes = [subprocess.Popen([sys.executable, '-c', code], env=env) for _ in range(3)]
    assert [process.wait(60) for process in processes] == [0, 0, 0]
    assert number.read_text() == '45' and sorted(entry.name for entry in tmp_path.iterdir()) == ['number']
