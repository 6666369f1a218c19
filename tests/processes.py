"""Python processes of their own, without the seconds that importing Keras takes.

A server imports the package and does nothing else; each process is a fork of it. TensorFlow makes its devices and
threads when it first computes, so such a process is as one that has just imported the package. What is about the
import itself, about another backend of Keras, or about streams and signals before it, starts an interpreter instead.
"""

import functools
import gc
import json
import os
import runpy
import signal
import socket
import subprocess
import sys
import tempfile
import types


def run(words, env=None, cwd=None) -> subprocess.CompletedProcess:
    """As `subprocess.run([sys.executable, *words], env=env, cwd=cwd, capture_output=True, text=True)`.

    Args:
        words: "-c", code and arguments; "-m", a module and arguments; or a script and arguments.
        env: the environment, by default that of this process.
        cwd: the folder it starts in, by default that of this process.
    """
    words = [str(word) for word in words]
    request = json.dumps(dict(words=words, env=dict(env or os.environ), cwd=os.fspath(cwd or os.getcwd())))
    ours, theirs = socket.socketpair()
    with open(os.devnull) as empty, tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err, ours:
        with theirs:
            streams = [stream.fileno() for stream in (empty, out, err, theirs)]
            socket.send_fds(_server(), [request.encode()], streams)
        with ours.makefile() as told:
            code = int(told.read())
        for stream in (out, err):
            stream.seek(0)
        return subprocess.CompletedProcess([sys.executable, *words], code, out.read(), err.read())


@functools.cache
def _server() -> socket.socket:
    """The server of this process: it ends with it, as nobody has the other end of its socket then."""
    ours, theirs = socket.socketpair(type=socket.SOCK_SEQPACKET)
    with theirs:
        words = [sys.executable, __file__, str(theirs.fileno())]
        subprocess.Popen(words, pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    return ours


def _serve(connection):
    """Fork for each request; in the new process, return the words that it was asked to run."""
    while True:
        message, streams, *_ = socket.recv_fds(connection, 1 << 20, 4)
        if not message:
            os._exit(0)
        if not os.fork():
            break
        for stream in streams:
            os.close(stream)
    connection.close()
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    *standard, reply = streams
    if process := os.fork():
        for stream in standard:
            os.close(stream)
        code = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
        os.write(reply, str(code).encode())
        os._exit(0)
    os.close(reply)
    for number, stream in enumerate(standard):
        os.dup2(stream, number)
        os.close(stream)
    request = json.loads(message)
    os.chdir(request["cwd"])
    os.environ.clear()
    os.environ.update(request["env"])
    return request["words"]


def _become(kind, *words):
    """Run what `python KIND WORD...` runs."""
    if kind == "-m":
        sys.argv, sys.path[0] = list(words), os.getcwd()
        runpy.run_module(words[0], run_name="__main__", alter_sys=True)
    elif kind == "-c":
        code, *words = words
        sys.argv, sys.path[0] = ["-c", *words], ""
        main = sys.modules["__main__"] = types.ModuleType("__main__")
        exec(compile(code, "<string>", "exec"), vars(main))
    else:
        sys.argv, sys.path[0] = [kind, *words], os.path.dirname(kind)
        runpy.run_path(kind, run_name="__main__")


if __name__ == "__main__":
    with socket.socket(fileno=int(sys.argv[1])) as connection:
        import keras_mlp  # noqa: F401

        gc.freeze()
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for the processes that wait
        words = _serve(connection)
    _become(*words)
