"""Several processes of one script that train a model together, started as torchrun starts them."""

import os
import sys
import uuid

SIGNALS = "SIGTERM,SIGINT,SIGHUP,SIGQUIT,SIGUSR1"
SHUTDOWN_S = "120"  # until a process that was asked to save and end is killed


def n_launched() -> int:
    """How many processes torchrun started, this one included; 1 without it."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def end() -> None:
    """End a process that was launched with others, and is done, at once.

    The threads of gloo outlive the group: now and then one is still there while Python takes itself
    down, which aborts the process ("terminate called without an active exception").
    """
    if n_launched() > 1:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(0)


def rank() -> int:
    """The number of this process among all that torchrun started, from 0."""
    return int(os.environ.get("RANK", "0"))


def local_rank() -> int:
    """The number of this process on its machine, from 0."""
    return int(os.environ.get("LOCAL_RANK", "0"))


def again(n: int) -> int:
    """Run this very command in `n` processes of this machine to their end; the exit code.

    They say themselves what goes wrong. A signal is passed on to all of them.

    Args:
        n: how many.
    """
    from torch.distributed.elastic.multiprocessing.api import DefaultLogsSpecs, SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    _be_quiet()
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, _n_cores() // n)))
    os.environ.setdefault("TORCH_ELASTIC_SHUTDOWN_TIMEOUT", SHUTDOWN_S)
    how = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=n,
        run_id=uuid.uuid4().hex,
        rdzv_backend="c10d",
        rdzv_endpoint="127.0.0.1:0",
        local_addr="127.0.0.1",
        max_restarts=0,
        monitor_interval=0.1,
        signals_to_handle=SIGNALS,
        logs_specs=DefaultLogsSpecs(),
    )
    try:
        elastic_launch(how, sys.executable)(*_this_script(), *sys.argv[1:])
    except SignalException as stopped:
        return 128 + stopped.sigval
    except ChildFailedError as failed:
        rank, failure = failed.get_first_failure()
        if failure.exitcode < 0:
            print(
                f"error: process {rank} was killed by signal {-failure.exitcode}", file=sys.stderr
            )
            return 128 - failure.exitcode
        return failure.exitcode
    return 0


def _this_script() -> list[str]:
    """How Python was told to run what runs now."""
    main = sys.modules["__main__"]
    if main.__spec__ is not None:
        return ["-m", main.__spec__.name]
    return [str(main.__file__)]


def _be_quiet() -> None:
    """The launcher's own tracebacks would only repeat what its processes say."""
    import logging

    names = ["torch.distributed", "torch.distributed.launcher", "torch.distributed.elastic"]
    names += ["torch.distributed.elastic.agent.server.api"]  # has a level of its own
    for name in names:
        logging.getLogger(name).setLevel(logging.CRITICAL)


def _n_cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
