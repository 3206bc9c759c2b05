#!/usr/bin/env python3
"""Compares the logits of a model folder in opid and in transformers.

    python scripts/check_transformers.py FOLDER [f32|bf16]

Needs torch and transformers. Prints the largest difference of the 8 largest logits of every position
and of the log-probability of the next token; fails when one exceeds the bound of the precision.
"""
import json
import random
import subprocess
import sys

import torch
from transformers import AutoModelForCausalLM

BOUNDS = {"f32": 1e-3, "bf16": 0.15}


def main() -> None:
    folder = sys.argv[1]
    precision = sys.argv[2] if len(sys.argv) > 2 else "f32"
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    draw = random.Random(0)
    tokens = [draw.randrange(model.config.vocab_size) for _ in range(24)]
    command = ["cargo", "run", "--quiet", "--release", "-p", "opid-lm", "--example", "logits", "--"]
    result = subprocess.run(command + [folder, precision, *map(str, tokens)], check=True, capture_output=True)
    ours = json.loads(result.stdout)
    with torch.no_grad():
        logits = model(torch.tensor([tokens])).logits[0].double()
    logprobs = torch.log_softmax(logits, -1)
    worst_logit = worst_next = 0.0
    for i, line in enumerate(ours):
        for token, logit in line["top"]:
            worst_logit = max(worst_logit, abs(logits[i, token].item() - logit))
        if line["next_logprob"] is not None:
            worst_next = max(worst_next, abs(logprobs[i, tokens[i + 1]].item() - line["next_logprob"]))
    print(f"{folder}: {len(tokens)} tokens, {precision}: logits differ by at most {worst_logit:.2e}, "
          f"log-probabilities by {worst_next:.2e} (largest logit {logits.max().item():.2f})")
    if max(worst_logit, worst_next) > BOUNDS[precision]:
        sys.exit(f"more than {BOUNDS[precision]}")


if __name__ == "__main__":
    main()
