"""Recipes for working on the project itself."""

from typing import Any

from invoke import Collection, Context, task

from tasks.command import flags, run


@task
def test(c: Context) -> None:
    """All that CI checks: style, types, tests. After --: flags of pytest."""
    lint(c)
    run(c, "mypy")
    run(c, "pytest", *flags(c))


@task
def lint(c: Context) -> None:
    """Check style and format."""
    run(c, "ruff", "check", ".")
    run(c, "ruff", "format", "--check", ".")


@task(name="format")
def format_code(c: Context) -> None:
    """Mend style and format."""
    run(c, "ruff", "check", "--fix", ".")
    run(c, "ruff", "format", ".")


@task
def slow(c: Context) -> None:
    """The tests that take minutes. After --: flags of pytest."""
    run(c, "pytest", "-m", "slow", *flags(c))


@task
def gpu(c: Context) -> None:
    """The tests that need an NVIDIA GPU. After --: flags of pytest."""
    run(c, "pytest", "-m", "gpu", *flags(c))


@task(
    help={
        "device": "cpu, cuda or cuda:N",
        "size": "of the text encoder on the CPU: tiny, small or base",
        "cases": "which, such as full,heads; by default all",
        "repeats": "how often each pair is timed",
        "quick": "once each, on fewer rows: about three minutes",
    }
)
def bench(
    c: Context,
    device: str = "cpu",
    size: str = "small",
    cases: str | None = None,
    repeats: int = 3,
    quick: bool = False,
) -> None:
    """Time this toolkit beside HF Trainer and others. After --: flags of scripts.bench."""
    chosen = cases.split(",") if cases else None
    how: dict[str, Any] = {"device": device, "size": size, "repeats": repeats, "quick": quick}
    run(c, "scripts.bench", **how, cases=chosen, then=flags(c))


@task(help={"inputs": "how many"})
def fuzz(c: Context, inputs: int = 10_000) -> None:
    """Try damaged inputs on the scripts that read them. After --: flags of scripts.fuzz."""
    run(c, "scripts.fuzz", n=inputs, then=flags(c))


@task
def memory(c: Context) -> None:
    """Prepare and train on 3000 clips and on 30,000: peak memory of both. After --: flags."""
    run(c, "scripts.bench_memory", then=flags(c))


namespace = Collection(lint, format_code, slow, gpu, bench, fuzz, memory)
