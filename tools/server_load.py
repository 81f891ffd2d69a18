"""How the server does with many clients: wrong and lost answers, times beside those of one client, memory, a killed worker.

    python -m tools.server_load --data ../shared/data --minutes 5 --out bench/results/server-load.json

Each client asks over one connection, one question after the other, about images of the test split and the sample scan, in
both languages. Every answer is compared with that of the library. After two thirds of the time a worker is killed.
"""

import argparse
import http.client
import json
import os
import random
import signal
import sys
import threading
import time
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np

from medrega_bench.performance.environment import command, environment
from medrega_bench.result_files import to_json_values
from medrega_edge.engine import load
from medrega_edge.evaluation.records import read_records
from medrega_edge.images.samples import sample_path
from medrega_train.records import split_of
from tests.server.running import running

IMAGES = 24  # of the test split; some questions repeat, as those of people do
SAMPLE = [
    "locate the liver",
    "请定位肝脏",
    "outline the spleen",
    "what organs are visible?",
    "describe this image",
    "肝脏有多大？",
]
ONE_CLIENT_SECONDS = 30.0
MEMORY_EVERY = 5.0  # seconds


def questions(data):
    """Return the bytes of each image, and what to ask about it with the answer that is right."""
    engine = load(threads=1)
    chosen = [record for record in split_of(read_records(data), "test") if record.targets]
    chosen = random.Random(0).sample(chosen, IMAGES)
    images, asked = [], []
    for path, words in [(sample_path("abdomen-mri"), SAMPLE), *((record.image, words_of(record)) for record in chosen)]:
        images.append(Path(path).read_bytes())
        opened = engine.open(images[-1])
        for text in words:
            request = engine.request(opened, text)
            answer = engine.run(opened, request, "zh" if any(ord(each) > 0x2E80 for each in text) else "en")
            asked.append((len(images) - 1, text, comparable(answer.to_dict())))
    return images, asked


def words_of(record):
    """Return questions about the first object of an image."""
    target = record.targets[0]
    return [
        f"locate the {target.label_en}",
        f"请定位{target.label_zh}",
        f"is there a {target.label_en}?",
        "describe this image",
    ]


def comparable(answer):
    """Return an answer as JSON, without its times."""
    return json.dumps({key: value for key, value in answer.items() if key != "timings_ms"}, sort_keys=True)


class Client(threading.Thread):
    """Asks until the time is over; notes the time of each answer, and what was wrong or lost."""

    def __init__(self, url, seed, ids, asked, until):
        """Take what it needs."""
        super().__init__(daemon=True)
        self.place, self.chance, self.ids, self.asked, self.until = urlsplit(url), random.Random(seed), ids, asked, until
        self.times, self.wrong, self.lost, self.refused, self.failed = [], 0, 0, 0, 0

    def run(self):
        """Ask."""
        connection = http.client.HTTPConnection(self.place.hostname, self.place.port, timeout=150)
        while time.monotonic() < self.until:
            image, text, expected = self.chance.choice(self.asked)
            body = json.dumps({"image": {"id": self.ids[image]}, "question": text})
            begun = time.perf_counter()
            try:
                connection.request("POST", "/v1/regions", body)
                response = connection.getresponse()
                data = response.read()
            except (OSError, http.client.HTTPException):
                self.lost += 1
                connection.close()
                continue
            self.times.append(1000 * (time.perf_counter() - begun))
            if response.status == 200:
                self.wrong += comparable(json.loads(data)) != expected
            elif response.status == 429:
                self.refused += 1
            else:
                self.failed += 1


def at_once(url, count, ids, asked, seconds):
    """Let clients ask for some time; returns them."""
    until = time.monotonic() + seconds
    clients = [Client(url, number, ids, asked, until) for number in range(count)]
    for client in clients:
        client.start()
    return clients


def figures(clients, seconds):
    """Return what was measured."""
    times = np.concatenate([client.times for client in clients])
    low, middle, high, highest = (round(float(value), 1) for value in np.percentile(times, [5, 50, 95, 99]))
    counts = {name: sum(getattr(client, name) for client in clients) for name in ("wrong", "lost", "refused", "failed")}
    milliseconds = {"p5_ms": low, "p50_ms": middle, "p95_ms": high, "p99_ms": highest}
    return {
        "clients": len(clients),
        "answers": len(times),
        "per_second": round(len(times) / seconds, 1),
        **milliseconds,
        **counts,
    }


def megabytes(server):
    """Return the memory of the server and its workers, in megabytes."""
    total = 0
    for pid in [server.process.pid, *server.workers()]:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                total += int(line.split()[1])
    return round(total / 1024, 1)


def main():
    """Measure, and write the result."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--data", type=Path, required=True)
    options.add_argument("--clients", type=int, default=50)
    options.add_argument("--minutes", type=float, default=5.0)
    options.add_argument("--out", type=Path, required=True)
    given = options.parse_args()
    images, asked = questions(given.data)
    with running("--queue", "100", "--quiet") as server:
        ids = [server.send(data) for data in images]
        one = at_once(server.url, 1, ids, asked, ONE_CLIENT_SECONDS)
        one[0].join()
        begun, seconds, memory = time.monotonic(), 60 * given.minutes, []
        clients, killed = at_once(server.url, given.clients, ids, asked, seconds), None
        while any(client.is_alive() for client in clients):
            time.sleep(MEMORY_EVERY)
            memory.append(megabytes(server))
            if killed is None and time.monotonic() - begun > seconds * 2 / 3:
                killed = server.workers()[0]
                os.kill(killed, signal.SIGKILL)
        metrics = server.request("/metrics")[2].decode()
    before = memory[: len(memory) * 2 // 3]  # until the kill
    result = {
        "command": command(),
        "environment": to_json_values(environment()),
        "images": len(images),
        "questions": len(asked),
        "one_client": figures(one, ONE_CLIENT_SECONDS),
        "many_clients": figures(clients, seconds),
        "worker_killed": killed is not None,
        "restarts": float(
            next(line for line in metrics.splitlines() if line.startswith("medrega_worker_restarts ")).split()[1]
        ),
        "memory_mb": {
            "after_a_minute": before[min(12, len(before) - 1)],
            "before_the_kill": before[-1],
            "at_the_end": memory[-1],
        },
        "load_average": os.getloadavg(),
        "schema_version": 1,
    }
    given.out.write_text(json.dumps(result, indent=1) + "\n", "utf-8")
    sys.stdout.write(
        json.dumps({key: result[key] for key in ("one_client", "many_clients", "memory_mb", "restarts")}, indent=1) + "\n"
    )


if __name__ == "__main__":
    main()
