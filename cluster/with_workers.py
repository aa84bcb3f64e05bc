"""Runs a command on a cluster that grows: asks for workers, waits for them, and gives them back.

The autoscaler starts machines for work that waits, and a verb asks for as much at once as the
cluster holds when it begins: on a head without CPUs, nothing. So this asks first, on the head:

    python cluster/with_workers.py --gpus 4 -- python -m fmnist_ray.tune --address auto ...

While the command runs the request stands, so that a worker that is taken away is replaced. When
it ends, however it ends, the request is withdrawn, and idle workers go after the idle timeout.
"""

import argparse
import contextlib
import signal
import subprocess
import sys
import time
from collections.abc import Iterator

_POLL_SECONDS = 2.0


def main(arguments: list[str] | None = None) -> int:
    """The command line.

    Returns:
        The command's exit code; 1 if no worker came in time, 2 for a wrong request, 130 and 143
        if interrupted while waiting.
    """
    parser = argparse.ArgumentParser(
        prog="with_workers.py", description="Runs a command once the cluster has enough workers."
    )
    parser.add_argument("--gpus", type=int, metavar="N", help="GPUs that the cluster shall have")
    parser.add_argument("--cpus", type=int, metavar="N", help="CPUs that the cluster shall have")
    parser.add_argument(
        "--wait",
        type=float,
        default=30.0,
        metavar="MINUTES",
        help="then begin with what has come, if anything has  [default: 30]",
    )
    parser.add_argument("command", nargs="+", help="after --: what to run")
    asked = parser.parse_args(arguments)
    if asked.gpus is None and asked.cpus is None:
        parser.error("say with --gpus or --cpus how many the cluster shall have")
    wanted = {"GPU": asked.gpus or 0, "CPU": asked.cpus or 0}
    if min(wanted.values()) < 0:
        parser.error("--gpus and --cpus cannot be below 0")
    # `ray job stop` sends SIGTERM: it must not leave the request behind.
    before = signal.signal(signal.SIGTERM, _stop)
    try:
        request(wanted)
        there = wait_for(wanted, asked.wait * 60)
        return run(asked.command) if there else 1
    except KeyboardInterrupt:
        return 130
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        request({})
        signal.signal(signal.SIGTERM, before)
        _say("the request for workers is withdrawn")


def request(wanted: dict[str, int]) -> None:
    """Tells the autoscaler what the cluster shall have at least; an empty request ends the last."""
    from ray.autoscaler.sdk import request_resources

    with cluster():
        # One bundle for each: a node offers whole ones, and no node has to have all of them.
        request_resources(bundles=[{name: 1} for name, n in wanted.items() for _ in range(n)])


def wait_for(wanted: dict[str, int], seconds: float) -> bool:
    """Waits until the cluster has what is wanted.

    Returns:
        Whether the command can begin: all has come, or in that time at least some of each.
    """
    import ray

    end, said = time.monotonic() + seconds, ""
    with cluster():
        while True:
            there = {name: ray.cluster_resources().get(name, 0) for name in wanted}
            state = ", ".join(f"{there[name]:g} of {n} {name}s" for name, n in wanted.items() if n)
            if state != said:
                _say(f"workers: {state}")
                said = state
            if all(there[name] >= number for name, number in wanted.items()):
                return True
            if time.monotonic() >= end:
                some = all(there[name] for name, number in wanted.items() if number)
                _say(
                    f"not all workers came within {seconds / 60:g} minutes; "
                    + ("beginning with these" if some else "`ray status` says why")
                )
                return some
            time.sleep(_POLL_SECONDS)


def run(command: list[str]) -> int:
    """Runs the command and returns its exit code.

    Ctrl-C and `ray job stop` signal the whole process group: the command saves and ends by itself,
    and this process has to outlive it. A SIGTERM to this process alone is passed on.
    """
    with subprocess.Popen(command) as process:
        before = (
            signal.signal(signal.SIGINT, signal.SIG_IGN),
            signal.signal(signal.SIGTERM, lambda number, frame: process.terminate()),
        )
        try:
            code = process.wait()
        finally:
            signal.signal(signal.SIGINT, before[0])
            signal.signal(signal.SIGTERM, before[1])
    return code if code >= 0 else 128 - code


@contextlib.contextmanager
def cluster() -> Iterator[None]:
    """A connection to the cluster of this machine."""
    import ray

    before = signal.getsignal(signal.SIGTERM)
    ray.init(address="auto", log_to_driver=False, logging_level="ERROR")
    signal.signal(signal.SIGTERM, before)  # Ray sets one of its own
    try:
        yield
    finally:
        ray.shutdown()


def _stop(number: int, frame: object) -> None:
    raise SystemExit(143)


def _say(what: str) -> None:
    print(what, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
