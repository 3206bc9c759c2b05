"""Reads what opid writes for TensorBoard and MLflow with the real packages.

    pip install tensorboard mlflow
    python scripts/check_trackers.py target/release/opid [port]

Trains a very small run that tells both, stops it, goes on, and compares what arrived with metrics.jsonl; then `opid track`.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
import urllib.request

from mlflow.tracking import MlflowClient
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

OPID = os.path.abspath(sys.argv[1])
PORT = sys.argv[2] if len(sys.argv) > 2 else "5123"
URL = f"http://127.0.0.1:{PORT}"
MICRO = f"""
name = "micro"
steps = 3
[environment]
receptacles = [5, 6]
max_turns = 4
[rollout]
groups = 2
group_size = 2
max_response_tokens = 8
[optimizer]
mini_batches = 1
[evaluation]
split = "valid_seen"
games = 3
temperatures = [1.0]
[checkpoint]
every = 1
[log]
tensorboard = true
mlflow = "{URL}"
[warm_start]
vocab_size = 512
hidden_size = 32
intermediate_size = 64
layers = 1
heads = 2
kv_heads = 1
head_dim = 16
probe_games = 2
min_skill_gain = 0.0
stages = [{{ updates = 3, episodes = 2, warmup = 1 }}]
"""


def opid(*args):
    done = subprocess.run([OPID, *args], capture_output=True, text=True, cwd=PLACE)
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


def logged(run):
    with open(os.path.join(PLACE, run, "metrics.jsonl")) as file:
        return {line["step"]: line for line in map(json.loads, file) if "update" in line}


def board(folder):
    events = EventAccumulator(os.path.join(PLACE, folder), size_guidance={"scalars": 0})
    events.Reload()
    return {tag: {e.step: e.value for e in events.Scalars(tag)} for tag in events.Tags()["scalars"]}


def compare(what, values, lines):
    for step, line in lines.items():
        for tag, value in (("train/success", line["success"]), ("update/kl", line["update"]["kl"]),
                           ("seconds/rollout", line["seconds"]["rollout"])):
            assert abs(values[tag][step] - value) <= 1e-6 * max(1, abs(value)), (what, tag, step, values[tag], value)
    print(f"ok  {what}: {len(values)} names, steps {sorted(values['train/success'])}", flush=True)


with tempfile.TemporaryDirectory() as PLACE:
    with open(os.path.join(PLACE, "micro.toml"), "w") as file:
        file.write(MICRO)
    away = opid("train", "micro.toml", "--run", "away")
    assert "numbers did not reach MLflow" in away, away
    print("ok  a server that is away:", away.strip().splitlines()[-1])
    server = subprocess.Popen(
        [sys.executable, "-m", "mlflow", "server", "--port", PORT, "--backend-store-uri", f"sqlite:///{PLACE}/mlflow.db",
         "--artifacts-destination", f"{PLACE}/artifacts", "--workers", "1"],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=PLACE, start_new_session=True)
    try:
        for _ in range(240):
            try:
                urllib.request.urlopen(f"{URL}/health", timeout=1).read()
                break
            except OSError:
                time.sleep(0.5)
        opid("train", "micro.toml", "--run", "run")
        config = os.path.join(PLACE, "run", "config.toml")
        text = open(config).read()
        open(config, "w").write(text.replace("steps = 3", "steps = 5", 1))
        opid("train", "--resume", "run")
        lines = logged("run")
        assert sorted(lines) == [1, 2, 3, 4, 5]
        compare("TensorBoard", board("run/tensorboard"), lines)
        client = MlflowClient(URL)
        experiment = client.get_experiment_by_name("opid")
        runs = client.search_runs([experiment.experiment_id])
        assert len(runs) == 1 and runs[0].info.status == "FINISHED" and runs[0].info.run_name == "run", runs
        assert runs[0].data.params["rollout.groups"] == "2" and len(runs[0].data.params) > 100, runs[0].data.params
        history = {name: {m.step: m.value for m in client.get_metric_history(runs[0].info.run_id, name)}
                   for name in ("train/success", "update/kl", "seconds/rollout")}
        compare("MLflow", history, lines)
        opid("track", "run", "--tensorboard", "again", "--mlflow", URL, "--experiment", "later")
        compare("opid track, TensorBoard", board("again"), lines)
        later = client.search_runs([client.get_experiment_by_name("later").experiment_id])
        assert len(later) == 1 and later[0].data.metrics["train/success"] == lines[5]["success"]
        print(f"ok  opid track, MLflow: {len(later[0].data.metrics)} names")
    finally:
        os.killpg(server.pid, 15)
        server.wait()
