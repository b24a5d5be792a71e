# SPDX-License-Identifier: Apache-2.0
"""The files for clusters in docs/scale.md have the form that Slurm, a shell and Kubernetes expect, and start a command that exists."""

from __future__ import annotations

import re
import shlex
import subprocess
from pathlib import Path
from typing import Any

import yaml

from pellucid.cli.binding import bind

PAGE = (Path(__file__).parents[1] / "docs" / "scale.md").read_text(encoding="utf-8")
BLOCKS = [text for language, text in re.findall(r"^```(\w*)\n(.*?)^```$", PAGE, re.M | re.S) if not language]


def check_launched(words: list[str]) -> None:
    """Options that every machine needs, and then a training."""
    assert words[0] == "torchrun"
    assert {"--nnodes", "--nproc-per-node", "--rdzv-backend", "--rdzv-id", "--rdzv-endpoint", "-m"} <= set(words)
    own = words[words.index("pellucid") + 1 :]
    assert own[0] == "train" and "--out" in own
    bind(own[0], own[1:])


def test_the_line_for_each_machine_starts_a_training() -> None:
    [line] = [block for block in BLOCKS if block.startswith("torchrun")]
    check_launched(shlex.split(line.replace("\\\n", " ")))


def test_the_slurm_script_is_a_script_of_bash() -> None:
    [script] = [block for block in BLOCKS if "#SBATCH" in block]
    checked = subprocess.run(["bash", "-n"], input=script, text=True, capture_output=True)
    assert checked.returncode == 0 and not checked.stderr
    lines = script.splitlines()
    assert lines[0] == "#!/bin/bash"
    options = [line for line in lines if line.startswith("#SBATCH")]
    assert all(re.fullmatch(r"#SBATCH --[a-z-]+(=[\w:@-]+)?", line) for line in options)
    assert lines[1 : 1 + len(options)] == options, "Slurm reads no option after the first command"
    [line] = [line for line in script.replace("\\\n", " ").splitlines() if line.startswith("srun")]
    check_launched(shlex.split(line)[1:])


def test_the_kubernetes_job_has_what_an_indexed_job_needs() -> None:
    [text] = [block for block in BLOCKS if "apiVersion" in block]
    service, job = (dict[str, Any](part) for part in yaml.safe_load_all(text))
    assert (service["kind"], job["kind"], job["apiVersion"]) == ("Service", "Job", "batch/v1")
    name, spec = job["metadata"]["name"], job["spec"]
    pod = spec["template"]["spec"]
    assert service["spec"] == {"clusterIP": "None", "selector": {"job-name": name}} and pod["subdomain"] == name
    assert spec["completionMode"] == "Indexed" and spec["completions"] == spec["parallelism"]
    [container] = pod["containers"]
    assert {mount["name"] for mount in container["volumeMounts"]} == {volume["name"] for volume in pod["volumes"]}
    assert all(isinstance(word, str) for word in container["args"])
    words = [*container["command"], *container["args"]]
    check_launched(words)
    assert words[words.index("--nnodes") + 1] == str(spec["completions"])
    assert words[words.index("--rdzv-endpoint") + 1].startswith(f"{name}-0.{name}:")
    assert int(words[words.index("--nproc-per-node") + 1]) == container["resources"]["limits"]["nvidia.com/gpu"]
