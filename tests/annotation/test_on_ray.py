"""The same run on two raylets of one machine, one of which is killed: nothing lost, every file the same."""

from __future__ import annotations

import importlib.util
import logging
import random
import sys
import threading
import time
from pathlib import Path

import pytest
from PIL import Image

from ovseg.annotation.run.folder import read_run
from ovseg.evaluation.data.scenes import make_scene

ray = pytest.importorskip("ray", reason="ray is not installed: pip install '.[ray]'")
pytest.importorskip("ray.data", reason="ray[data] is not installed: pip install '.[ray]'")
SCRIPT = Path(__file__).parent / "slow_finder.py"


@pytest.fixture(scope="module")
def slow():
    spec = importlib.util.spec_from_file_location("slow_finder", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    sys.modules["slow_finder"] = module
    spec.loader.exec_module(module)
    ray.cloudpickle.register_pickle_by_value(module)
    yield module
    ray.cloudpickle.unregister_pickle_by_value(module)
    del sys.modules["slow_finder"]


@pytest.fixture(scope="module")
def cluster():
    from ray.cluster_utils import Cluster

    noticing = {  # that a raylet has gone, within a second
        "health_check_initial_delay_ms": 0,
        "health_check_period_ms": 500,
        "health_check_timeout_ms": 1000,
        "health_check_failure_threshold": 2,
    }
    made = Cluster(
        initialize_head=True,
        head_node_args={"num_cpus": 1, "include_dashboard": False, "_system_config": noticing},
    )
    made.second = made.add_node(num_cpus=1)
    ray.init(address=made.address, logging_level=logging.ERROR, log_to_driver=False)
    yield made
    ray.shutdown()
    made.shutdown()


def content(folder):
    """Every file but the manifest, whose lines stand in the order in which groups were finished."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.is_symlink() and path.name not in (".lock", "manifest.jsonl")
    }


@pytest.mark.filterwarnings("ignore")
def test_a_killed_raylet_loses_no_image(tmp_path, slow, cluster):
    rng = random.Random(3)
    for seed in range(32):
        size = (rng.choice([16, 24]), rng.choice([16, 32]))
        (tmp_path / "photos").mkdir(exist_ok=True)
        Image.fromarray(make_scene(seed, size).image).save(tmp_path / "photos" / f"p{seed}.png")
    (tmp_path / "photos" / "bad.jpg").write_bytes(b"\xff\xd8\xff broken")
    slow.run(tmp_path / "photos", tmp_path / "whole", slow.Brightness())

    out = tmp_path / "ray"
    seen = []

    def kill():
        while len(seen) < 4:
            time.sleep(0.05)
        cluster.remove_node(cluster.second, allow_graceful=False)

    killer = threading.Thread(target=kill, daemon=True)
    killer.start()
    done = slow.run(
        tmp_path / "photos",
        out,
        slow.Brightness(0.1),
        engine="ray",
        workers=2,
        progress=lambda *counts: seen.append(counts),
    )
    killer.join(30)
    assert not killer.is_alive() and done.done == 32 and list(done.failed) == ["bad.jpg"]
    _, records, rows = read_run(out)
    assert len(rows) == 33 and len(list(records())) == 32
    assert content(out) == content(tmp_path / "whole")
