"""Record how a real model streams answers on two topics, token by token, for the leakage test.

Each answer has the same number of tokens, and each topic the same mix of passages, so that nothing but the
words differs. Written to `tests/e2e/traces.json.gz`, which `tests/e2e/test_leakage.py` replays through client and
sidecar.
Run it with `python bench/record_traces.py`; it starts vLLM once and takes some minutes.
"""

from __future__ import annotations

import argparse
import gzip
import json
import random
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx2

from mitai.cli.demo.stage import SERVED_NAME, Stage
from mitai.models import locate

TARGET = Path(__file__).parents[1] / "tests" / "e2e" / "traces.json.gz"
TOKENS = 64
MAX_PASSAGES = 20
IN_FLIGHT = 8
TOPICS = {
    "medicine": {
        "questions": [
            "Explain which side effects these medicines can have and how they are monitored.",
            "Summarise the contraindications and the laboratory checks before treatment.",
            "Describe how the kidney function changes the dosage of these medicines.",
            "Which interactions between these medicines must the physician consider?",
        ],
        "passages": [
            "Hydrochlorothiazide lowers potassium and may provoke hyponatraemia in elderly patients.",
            "Angiotensin-converting enzyme inhibitors are contraindicated during pregnancy.",
            "Methotrexate requires monthly monitoring of leukocytes, thrombocytes and liver enzymes.",
            "Warfarin interacts with many antibiotics, so the prothrombin time is measured more often.",
            "Glomerular filtration below thirty millilitres per minute halves the dose of metformin.",
            "Corticosteroids raise blood glucose and promote osteoporosis in long-term treatment.",
            "Benzodiazepines increase the risk of respiratory depression together with opioids.",
            "Statins may elevate transaminases; muscle pain calls for a creatine kinase test.",
            "Amiodarone influences thyroid function and prolongs the QT interval.",
            "Digoxin toxicity presents with nausea, arrhythmia and disturbed colour vision.",
            "Intravenous vancomycin is infused slowly to avoid hypotension and flushing.",
            "Nonsteroidal anti-inflammatory drugs worsen heart failure and renal insufficiency.",
            "Lithium concentrations rise under thiazide diuretics and dehydration.",
            "Immunosuppressive therapy demands vaccination before the treatment begins.",
            "Anticoagulation is interrupted before surgery according to renal clearance.",
            "Proton pump inhibitors reduce the absorption of magnesium and cyanocobalamin.",
            "Levothyroxine is taken in the morning, thirty minutes before breakfast.",
            "Allopurinol is started with a low dose to prevent hypersensitivity reactions.",
            "Clozapine is dispensed only with current neutrophil counts.",
            "Selective serotonin reuptake inhibitors may cause gastrointestinal bleeding.",
        ],
    },
    "kitchen": {
        "questions": [
            "Tell me how to cook this at home for a few of my friends.",
            "Say what goes into the pot first and how long it has to cook.",
            "How do I know when the meat is done and what can I eat with it?",
            "What can I use in place of the cream, and how do I keep the rest?",
        ],
        "passages": [
            "Cut the onions in thin rings and let them go soft in hot oil, then add the salt.",
            "Let the dough rest for an hour in a warm place until it is twice as big.",
            "Put the rice in cold water, wash it three times and let it drip dry.",
            "Roast the nuts in a dry pan till they smell good, then let them cool down.",
            "Add a cup of milk bit by bit and stir all the time so that no lumps form.",
            "Rub the fish with salt and lime and leave it in the cold for half a day.",
            "Boil the eggs for six minutes and cool them in a bowl of ice and water.",
            "Bake the cake at a low heat and do not open the oven for the first half hour.",
            "Wash the leeks well, as there is often sand in them, and cut off the dark part.",
            "Turn the meat once on each side and let it rest for a while before you cut it.",
            "Mash the warm beans with a fork and add some oil and a bit of red pepper.",
            "Keep the soup on a low flame and skim off the foam from time to time.",
            "Fold the egg white in with a big spoon so that the mix stays light.",
            "Peel the ripe fruit, take out the stone and cook it with a bit of sugar.",
            "Mix the oil with lemon and herbs and pour it on the salad just before you eat.",
            "Fry the bread in butter on both sides until it is crisp and brown.",
            "Fill the jars while hot, close them at once and turn them on their heads.",
            "Soak the dried peas in water for the night and pour the water off.",
            "Roll the dough out thin, cut it in strips and dry it on a cloth.",
            "Add the garlic last, as it burns fast and then has a sharp taste.",
        ],
    },
}


def request_for(topic: str, seed: int) -> tuple[dict[str, object], list[int], int]:
    """Build one request: its body, the passages in it, and the question."""
    source = random.Random(seed)
    bank = TOPICS[topic]
    passages = source.sample(range(len(bank["passages"])), 1 + seed % MAX_PASSAGES)
    question = source.randrange(len(bank["questions"]))
    text = "\n".join(bank["passages"][index] for index in passages)
    body = {
        "model": SERVED_NAME,
        "messages": [{"role": "user", "content": f"{text}\n\n{bank['questions'][question]}"}],
        "max_tokens": TOKENS,
        "min_tokens": TOKENS,
        "ignore_eos": True,
        "temperature": 0.7,
        "stream": True,
    }
    return body, passages, question


def record(client: httpx2.Client, topic: str, seed: int) -> dict[str, object]:
    """Stream one answer and keep its pieces."""
    body, passages, question = request_for(topic, seed)
    pieces = []
    with client.stream("POST", "/v1/chat/completions", json=body) as response:
        response.raise_for_status()
        for line in response.iter_lines():
            if line.startswith("data: {"):
                event = json.loads(line[6:])
                if "choices" not in event:
                    raise SystemExit(line[:300])
                choice = event["choices"][0]
                if "content" in choice["delta"]:
                    pieces.append(choice["delta"]["content"])
    return {"topic": topic, "passages": passages, "question": question, "pieces": pieces}


def main() -> None:
    """Start the engine, ask, write the file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--traces", type=int, default=440)
    options = parser.parse_args()
    jobs = [(topic, seed) for seed in range(options.traces // len(TOPICS)) for topic in TOPICS]
    with Stage(locate("SmolLM2-135M-Instruct")) as stage:
        stage.start()
        stage.wait_ready()
        transport = httpx2.HTTPTransport(uds=str(next(stage.runtime.rglob("*.sock"))))
        with (
            httpx2.Client(base_url="http://engine", transport=transport, timeout=httpx2.Timeout(300)) as client,
            ThreadPoolExecutor(IN_FLIGHT) as pool,
        ):
            traces = list(pool.map(lambda job: record(client, *job), jobs))
    kept = {"topics": TOPICS, "tokens": TOKENS, "traces": traces}
    packed = gzip.compress(json.dumps(kept, ensure_ascii=False, separators=(",", ":")).encode(), mtime=0)
    TARGET.write_bytes(packed)
    print(f"{len(traces)} traces, {len(packed)} bytes in {TARGET.name}")


if __name__ == "__main__":
    main()
