"""The container without Docker: the steps of its Dockerfile, what is sent to the build, its health check, its document."""

import re
import subprocess
import sys

import pytest

from medrega_edge.images.samples import sample_path
from tools import container_steps, healthcheck
from tools.container_steps import ROOT, Failed

DOCKERFILE = ROOT / "Dockerfile"
pytestmark = pytest.mark.skipif(not DOCKERFILE.is_file(), reason="a source distribution has no Dockerfile")


@pytest.fixture
def work(tmp_path):
    return tmp_path / "work"


def built(text, work):
    return container_steps.build(text, work, sys.executable)


def test_the_build_gets_what_a_wheel_is_made_of_and_nothing_else():
    files = [path.as_posix() for path in container_steps.context_files(ROOT)]
    assert {"pyproject.toml", "hatch_build.py", "README.md", "LICENSE", "tools/compile_catalogues.py"} <= set(files)
    assert "medrega_edge/default_package/manifest.json" in files
    assert not [
        name
        for name in files
        if re.search(r"^(tests|docs|\.git|data|shared)/|train/checkpoints/|bench/results/|\.mo$|__pycache__", name)
    ]


@pytest.mark.parametrize(
    ("rules", "sent"),
    [
        ("", ["a.txt", "b/c.txt", "b/d/e.mo"]),
        ("*\n!b", ["b/c.txt", "b/d/e.mo"]),
        ("*\n!b/d/e.mo", ["b/d/e.mo"]),
        ("b\n!b/c.txt", ["a.txt", "b/c.txt"]),
        ("# all\n**/*.mo\n", ["a.txt", "b/c.txt"]),
        ("*.txt", ["b/c.txt", "b/d/e.mo"]),
        ("b/d/", ["a.txt", "b/c.txt"]),
    ],
)
def test_rules_of_dockerignore_are_read_as_docker_reads_them(tmp_path, rules, sent):
    (tmp_path / "b" / "d").mkdir(parents=True)
    for name in ("a.txt", "b/c.txt", "b/d/e.mo"):
        (tmp_path / name).touch()
    (tmp_path / ".dockerignore").write_text(rules)
    files = [path.as_posix() for path in container_steps.context_files(tmp_path)]
    assert [name for name in files if name != ".dockerignore"] == sent


def test_a_stage_is_followed(work):
    text = """
# a comment
FROM python:3.11-slim AS build
ARG WORD=there
WORKDIR /opt/made
RUN echo "hello ${WORD}" > /opt/made/a.txt \\
    && mkdir bin && echo "#!/opt/made/bin/x" > bin/x
FROM python:3.11-slim
COPY --from=build /opt/made /opt/made
ENV A=/opt/made B=/optional PATH=/opt/made/bin:/bin
USER 10001:10001
EXPOSE 1
HEALTHCHECK --interval=5s CMD ["python", "/opt/made/a.txt"]
ENTRYPOINT ["made"]
CMD ["--key", "/run/secrets/key.pem"]
"""
    stage = built(text, work)
    assert stage.place("/opt/made/a.txt").read_text() == "hello there\n"
    assert stage.place("/opt/made/bin/x").read_text() == f"#!{stage.folder}/opt/made/bin/x\n"
    assert stage.environment()["A"] == f"{stage.folder}/opt/made"
    assert stage.environment()["B"] == "/optional"
    assert (stage.user, stage.health) == (10001, ["python", "/opt/made/a.txt"])
    assert (stage.entrypoint, stage.path(stage.command[1])) == (["made"], f"{stage.folder}/run/secrets/key.pem")


@pytest.mark.parametrize(
    "text", ["RUN true", "FROM alpine", "FROM python:3\nRUN false", "FROM python:3\nSHELL x", "FROM python:3\nCOPY a b", ""]
)
def test_a_step_that_fails_is_seen(work, text):
    with pytest.raises(Failed):
        built(text, work)


def test_nothing_that_listens_is_not_healthy():
    assert not healthcheck.is_healthy(str(container_steps.free_port()))


def test_the_document_has_the_paths_and_the_port_of_the_image():
    text, dockerfile = (ROOT / "docs" / "container.md").read_text("utf-8"), DOCKERFILE.read_text("utf-8")
    for path in re.findall(r"/run/secrets/\S+?(?=\")", dockerfile):
        assert path.rpartition("/")[2] in text
    port = re.search(r"EXPOSE (\d+)", dockerfile)[1]
    assert f":{port}:{port} medrega" in text
    (default,) = (rest for name, rest in container_steps.instructions(dockerfile) if name == "CMD")
    assert " ".join(container_steps.words(default)) in text


@pytest.mark.slow
def test_the_steps_work(tmp_path):
    """It installs from the package index, as `docker build` does."""
    ran = subprocess.run(
        [sys.executable, "-m", "tools.container_steps"], capture_output=True, text=True, cwd=ROOT, timeout=900, check=False
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert ran.stdout.splitlines()[-1] == "OK"
    assert "healthy" in ran.stdout


# ---- AGENTS.md, which tells programs how to call what the container holds


def agents():
    return (ROOT / "AGENTS.md").read_text("utf-8")


def test_the_page_for_agents_is_short_and_names_every_tool_and_argument():
    from medrega_edge.domain import Language
    from medrega_edge.mcp.folders import Folders
    from medrega_edge.mcp.tools import Toolbox

    text = agents()
    assert len(text.splitlines()) <= 120
    for tool in Toolbox(Folders([]), lambda: None, Language.EN).listed():
        named = [tool["name"], *tool["inputSchema"]["properties"]]
        assert [name for name in named if f"`{name}`" not in text] == []


@pytest.mark.slow
def test_the_commands_of_the_page_for_agents_work(tmp_path):
    lines = re.findall(r"^medrega (?!serve).*$", agents(), re.MULTILINE)
    assert len(lines) > 7
    (tmp_path / "FOLDER").mkdir()
    (tmp_path / "FOLDER" / "a.dcm").write_bytes(sample_path("abdomen-mri").read_bytes())
    for line in lines:
        command = line.replace("medrega ", f"{sys.executable} -m medrega_edge ", 1)
        ran = subprocess.run(command, shell=True, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert ran.returncode == 0, f"{line}: {ran.stderr}"
        assert ran.stdout.startswith("{") or "--json" not in line
