"""What `tools.server_load` measured, as Markdown: many clients beside one."""

from __future__ import annotations

from dataclasses import dataclass

from medrega_bench.performance.environment import Environment


@dataclass(frozen=True)
class Load:
    """Clients that asked at the same time: how many answers they got, how fast, and what was wrong with them."""

    clients: int
    answers: int
    per_second: float
    p5_ms: float
    p50_ms: float
    p95_ms: float
    p99_ms: float
    wrong: int
    lost: int
    refused: int
    failed: int


@dataclass(frozen=True)
class Memory:
    """Megabytes of the server and its workers together."""

    after_a_minute: float
    before_the_kill: float
    at_the_end: float


@dataclass(frozen=True)
class LoadResult:
    """The result of `tools.server_load`. A worker was killed after two thirds of the time."""

    command: str
    environment: Environment
    images: int
    questions: int
    one_client: Load
    many_clients: Load
    worker_killed: bool
    restarts: float
    memory_mb: Memory
    load_average: tuple[float, float, float]
    schema_version: int = 1


def table(result: LoadResult) -> str:
    """Write both loads, and what became of the answers."""
    lines = [
        "| clients | answers | a second | p50, ms | p95, ms | wrong | lost | 429 | 503 |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for load in (result.one_client, result.many_clients):
        times = f"{load.per_second:.1f} | {load.p50_ms:.0f} | {load.p95_ms:.0f}"
        lines.append(
            f"| {load.clients} | {load.answers} | {times} | {load.wrong} | {load.lost} | {load.refused} | {load.failed} |"
        )
    memory, machine = result.memory_mb, result.environment
    killed = "A worker was killed after two thirds of the time. " if result.worker_killed else ""
    lines += [
        "",
        f"{killed}{result.images} images, {result.questions} questions. Server and workers took "
        f"{memory.after_a_minute:.0f} MB after a minute, {memory.before_the_kill:.0f} MB before the kill and "
        f"{memory.at_the_end:.0f} MB at the end. The clients ran on the same machine: "
        f"{machine.processor}, {machine.threads} threads.",
    ]
    return "\n".join(lines)
