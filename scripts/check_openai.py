"""Tries a running `opid serve` with the real `openai` package.

    pip install openai
    opid serve MODEL --port 8123 &
    python scripts/check_openai.py http://127.0.0.1:8123/v1

Prints what was tried, and ends with an error where a reply is not as it should be.
"""

import asyncio
import sys
import time

import openai

BASE = sys.argv[1] if len(sys.argv) > 1 else "http://127.0.0.1:8000/v1"
KEY = sys.argv[2] if len(sys.argv) > 2 else "none"
client = openai.OpenAI(base_url=BASE, api_key=KEY, max_retries=0)
MODEL = client.models.list().data[0].id
ASK = [{"role": "user", "content": "-= Welcome to TextWorld, ALFRED! =-\n\nYou are in the middle of a room. Looking quickly "
        "around you, you see a cabinet 1, a countertop 1, a drawer 1, a fridge 1, a microwave 1, and a sinkbasin 1.\n\nYour "
        "task is to: cool some egg and put it in microwave."}]
WARM = {"temperature": 1.5, "max_tokens": 40, "logprobs": True}


def said(what):
    print(f"ok  {what}", flush=True)


def refused(what, status, **request):
    try:
        client.chat.completions.create(**{"model": MODEL, "messages": ASK, **request})
    except openai.APIStatusError as error:
        assert error.status_code == status, (what, error)
        assert error.body and error.body["message"], error.body
        said(f"{what}: {status} {error.body['message'][:90]}")
    else:
        raise AssertionError(f"{what} was not refused")


assert client.models.retrieve(MODEL).id == MODEL
said(f"model {MODEL}")

whole = client.chat.completions.create(model=MODEL, messages=ASK, seed=7, max_tokens=24, logprobs=True, top_logprobs=3)
choice = whole.choices[0]
assert choice.finish_reason in ("stop", "length") and choice.message.role == "assistant"
tokens = choice.logprobs.content
assert "".join(t.token for t in tokens if not t.token.startswith("<|")) == choice.message.content, (tokens, choice.message)
assert all(t.logprob <= 0 and len(t.top_logprobs) == 3 for t in tokens)
assert all(t.top_logprobs[0].logprob >= t.logprob for t in tokens)
assert whole.usage.completion_tokens >= len(tokens) and whole.usage.prompt_tokens > 0
said(f"chat: {choice.message.content!r}, {whole.usage.prompt_tokens} + {whole.usage.completion_tokens} tokens")

parts = list(client.chat.completions.create(model=MODEL, messages=ASK, seed=7, max_tokens=24, stream=True, logprobs=True,
                                            stream_options={"include_usage": True}))
text = "".join(p.choices[0].delta.content or "" for p in parts if p.choices)
assert text == choice.message.content, (text, choice.message.content)
streamed = [t.logprob for p in parts if p.choices and p.choices[0].logprobs for t in p.choices[0].logprobs.content]
assert streamed == [t.logprob for t in tokens], (streamed, tokens)
assert parts[-1].usage == whole.usage and parts[0].choices[0].delta.role == "assistant"
said(f"stream of {len(parts)} parts says the same")

greedy = client.chat.completions.create(model=MODEL, messages=ASK, temperature=0, max_tokens=24)
stop = greedy.choices[0].message.content[3:6]
cut = client.chat.completions.create(model=MODEL, messages=ASK, temperature=0, max_tokens=24, stop=[stop], logprobs=True)
assert cut.choices[0].message.content == greedy.choices[0].message.content.split(stop)[0], cut
assert cut.choices[0].finish_reason == "stop"
said(f"stop at {stop!r}: {cut.choices[0].message.content!r}")

several = client.chat.completions.create(model=MODEL, messages=ASK, seed=3, n=4, max_tokens=16)
assert [c.index for c in several.choices] == [0, 1, 2, 3]
said(f"four choices: {[c.message.content for c in several.choices]}")

plain = client.completions.create(model=MODEL, prompt=["You are", "go to"], max_tokens=8, seed=1, logprobs=2)
assert len(plain.choices) == 2 and len(plain.choices[0].logprobs.tokens) <= 8
part = "".join(p.choices[0].text for p in client.completions.create(model=MODEL, prompt="You are", max_tokens=8, seed=1, stream=True))
assert part == plain.choices[0].text, (part, plain.choices[0].text)
said(f"plain completions: {[c.text for c in plain.choices]}")

refused("an unknown model", 404, model="gpt-4o")
refused("a temperature of 9", 400, temperature=9)
refused("tools", 400, tools=[{"type": "function", "function": {"name": "f"}}])
refused("an unknown parameter", 400, extra_body={"warmth": 1})
refused("no messages", 400, messages=[])
refused("too many tokens", 400, max_tokens=10**7)
refused("a picture", 400, messages=[{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}])


async def together(count):
    many = openai.AsyncOpenAI(base_url=BASE, api_key=KEY, max_retries=0)

    async def one(seed):
        reply = await many.chat.completions.create(model=MODEL, messages=ASK, seed=seed, **WARM)
        return reply.choices[0].message.content, [t.logprob for t in reply.choices[0].logprobs.content]

    return await asyncio.gather(*(one(seed) for seed in range(count)))


def alone(seed):
    reply = client.chat.completions.create(model=MODEL, messages=ASK, seed=seed, **WARM)
    return reply.choices[0].message.content, [t.logprob for t in reply.choices[0].logprobs.content]


COUNT = 32
start = time.time()
batch = asyncio.run(together(COUNT))
middle = time.time()
single = [alone(seed) for seed in range(COUNT)]
end = time.time()
same = sum(a[0] == b[0] for a, b in zip(batch, single))
gap = max(abs(x - y) for a, b in zip(batch, single) if a[0] == b[0] for x, y in zip(a[1], b[1]))
assert same == COUNT, f"only {same} of {COUNT} seeded replies are the same alone and together"
said(f"{COUNT} ({len({b[0] for b in batch})} different) at once {middle - start:.2f} s, one after the other {end - middle:.2f} s; the same texts, "
     f"log-probabilities within {gap:.1e}")
