"""Recipes for working on the project itself."""

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


namespace = Collection(lint, format_code, slow, gpu)
