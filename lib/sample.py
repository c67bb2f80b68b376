"""The embedded corpora: made from templates, equal on every machine, a sample and not a result.

The text corpus asks what FarsTail asks. A premise tells of one event (who, what, how many, where,
when, with whom, in what weather, by what way home); a hypothesis speaks of that same event and is
entailed (e), contradicted (c) or left open (n). A hypothesis is left open when it asks for
something that the premise does not tell, or speaks of somebody else. Negations, numbers and places
stand in the hypotheses of all three classes alike, so that only the pair gives the class away.
"""

import json
import random
from collections.abc import Iterator
from dataclasses import dataclass, field

TEXT_FILES = {"train": "Train-word.csv", "validation": "Val-word.csv", "test": "Test-word.csv"}
UNLABELLED = "unlabelled.txt"
MARKER = "SAMPLE"  # a folder that holds this file is a sample: tables and pictures say so

PERSONS = ("سارا", "مریم", "زهرا", "نرگس", "علی", "رضا", "حسین", "امیر")
VERBS = (("خرید", "نخرید"), ("فروخت", "نفروخت"), ("دید", "ندید"), ("برداشت", "برنداشت"))
ITEMS = {  # singular: plural
    "کتاب": "کتاب‌ها",
    "دفتر": "دفترها",
    "کیف": "کیف‌ها",
    "گلدان": "گلدان‌ها",
    "ساعت": "ساعت‌ها",
}
NUMBERS = {1: "یک", 2: "دو", 3: "سه", 4: "چهار", 5: "پنج", 6: "شش"}
SLOTS = {
    "day": ("شنبه", "یکشنبه", "دوشنبه", "سه‌شنبه", "چهارشنبه"),
    "companion": ("برادرش", "خواهرش", "مادرش", "دوستش", "همسایه‌اش"),
    "place": ("بازار", "کتابخانه", "مدرسه", "پارک", "دانشگاه"),
    "return": ("برگشت", "برنگشت"),
    "weather": ("آفتابی", "بارانی", "برفی", "مه‌آلود"),
}
FRAMES = {  # {s} somebody, {v} what is asked, {did} affirmative, {does} and {was} may be negated
    "day": ("{s} روز {v} {item} {does}", "روزی که {s} {item} {did} {v} {was}"),
    "companion": ("{s} با {v} {item} {does}", "همراه {s} {v} {was}"),
    "place": ("{s} در {v} {item} {does}", "جایی که {s} {item} {did} {v} {was}"),
    "return": ("{s} به خانه {v}", "{s} آن روز {v}"),
    "weather": ("آن روز هوا {v} {was}", "هوای آن روز {v} {was}"),
    "count": ("شمار {items} {v} تا {was}", "{s} بیش از {v} {item} {does}"),
}
NEGATION_SHARE = 0.15  # of the hypotheses of every class, those of `return` not counted
SOMEBODY_ELSE_SHARE = 0.3  # of the hypotheses that are left open


@dataclass(frozen=True, kw_only=True)
class Event:
    """What happened; `told` holds the slots that the premise fills (a word, or the number)."""

    person: str
    verb: tuple[str, str]
    item: str
    told: dict[str, str | int] = field(default_factory=dict)


def text_corpus(
    *, seed: int = 0, n_premises: tuple[int, int, int] = (2000, 200, 300)
) -> dict[str, list[tuple[str, str, str]]]:
    """Rows (premise, hypothesis, label) of each split; every premise stands in one split only.

    Args:
        seed: equal seeds give equal rows, on every machine.
        n_premises: of train, validation and test. Each has three rows, one of each label.
    """
    rng = random.Random(seed)
    seen: set[str] = set()
    corpus: dict[str, list[tuple[str, str, str]]] = {}
    for split, size in zip(TEXT_FILES, n_premises, strict=True):
        corpus[split] = []
        while len(corpus[split]) < 3 * size:
            event = _event(rng)
            premise = _premise(event, rng)
            if premise in seen:
                continue
            seen.add(premise)
            for label in rng.sample("ecn", 3):
                corpus[split].append((premise, _hypothesis(event, label, rng), label))
    return corpus


def sentences(n: int, *, seed: int) -> Iterator[str]:
    """`n` lines of unlabelled text of the same kind, for pretraining.

    A line is a premise and, after a tab, either a statement that it entails about each thing it
    tells, or the same event told again. No line holds a premise of the validation or test split of
    the corpus of seed 0, nor of that of this seed.
    """
    corpora = [text_corpus(seed=of) for of in {0, seed}]
    held_out = {
        row[0] for corpus in corpora for name in ("validation", "test") for row in corpus[name]
    }
    rng = random.Random(f"sentences {seed}")
    while n > 0:
        event = _event(rng)
        premise = _premise(event, rng)
        kinds = rng.sample(list(event.told), len(event.told))
        stated = " ".join(_hypothesis(event, "e", rng, kind=kind) for kind in kinds)
        more = rng.choice((stated, _premise(event, rng)))
        if held_out.isdisjoint((premise, more)):
            yield f"{premise}\t{more}"
            n -= 1


def unlabelled_files(n: int, *, seed: int = 0) -> dict[str, str]:
    """The contents of the unlabelled part's files by name: `n` lines, and the marker."""
    marker = {"made_by": "lib.sample.unlabelled_files", "seed": seed, "n": n}
    marker["note"] = "a sample, not a result"
    lines = "".join(f"{line}\n" for line in sentences(n, seed=seed))
    return {UNLABELLED: lines, MARKER: json.dumps(marker) + "\n"}


def text_files(*, seed: int = 0) -> dict[str, str]:
    """The contents of the corpus's files by name, in FarsTail's format, the marker included.

    The test file's two flags mark what a shallow rule gets wrong: `hard(hypothesis)` the rule "a
    negation, and nothing else, means contradiction", `hard(overlap)` the rule "every word of the
    hypothesis stands in the premise, or else it is not entailed".
    """
    contents = {}
    for split, rows in text_corpus(seed=seed).items():
        lines = ["premise\thypothesis\tlabel"]
        if split == "test":
            lines[0] += "\thard(hypothesis)\thard(overlap)"
        for premise, hypothesis, label in rows:
            line = f"{premise}\t{hypothesis}\t{label}"
            if split == "test":
                line += "".join(f"\t{int(flag)}" for flag in _hard(premise, hypothesis, label))
            lines.append(line)
        contents[TEXT_FILES[split]] = "\n".join(lines) + "\n"
    marker = {"made_by": "lib.sample.text_files", "seed": seed, "note": "a sample, not a result"}
    contents[MARKER] = json.dumps(marker) + "\n"
    return contents


def _event(rng: random.Random) -> Event:
    """An event of which the premise will tell at least two things, and at least one not."""
    slots = rng.sample([*SLOTS, "count"], rng.choice((2, 3, 4)))
    told = {
        slot: rng.randint(2, 6) if slot == "count" else rng.choice(SLOTS[slot]) for slot in slots
    }
    return Event(
        person=rng.choice(PERSONS),
        verb=rng.choice(VERBS),
        item=rng.choice(list(ITEMS)),
        told=told,
    )


def _premise(event: Event, rng: random.Random) -> str:
    """One or two sentences that tell what happened."""
    told = event.told
    opening = [event.person]
    if "day" in told:
        opening.insert(rng.randint(0, 1), rng.choice(("", "روز ")) + str(told["day"]))
    setting = [f"با {told['companion']}"] if "companion" in told else []
    if "place" in told:
        setting.insert(rng.randint(0, len(setting)), f"در {told['place']}")
    number = NUMBERS[int(told["count"])] if "count" in told else "چند"
    clause = " ".join([*opening, *setting, number, event.item, event.verb[0]])
    if "return" in told:
        clause += f" {'و' if told['return'] == 'برگشت' else 'ولی'} به خانه {told['return']}"
    parts = [f"{clause}."]
    if "weather" in told:
        first = rng.random() < 0.5
        weather = f"{'' if first else 'آن روز '}هوا {told['weather']} بود."
        parts.insert(0 if first else 1, weather)
    return " ".join(parts)


def _hypothesis(event: Event, label: str, rng: random.Random, *, kind: str | None = None) -> str:
    """A statement that the event entails (e), contradicts (c) or leaves open (n).

    It is about something that fits the label, or about `kind`.
    """
    negated = rng.random() < NEGATION_SHARE
    person = event.person
    if label == "n":
        kinds = [kind for kind in FRAMES if kind not in event.told]
        if rng.random() < SOMEBODY_ELSE_SHARE:
            person = rng.choice([name for name in PERSONS if name != event.person])
            kinds = [kind for kind in FRAMES if kind != "weather"]
    else:
        kinds = list(event.told)
    kind = kind or rng.choice(kinds)
    negated = negated and kind != "return"
    frames = [frame for frame in FRAMES[kind] if person == event.person or "{s}" in frame]
    frame = rng.choice(frames)
    values = _values(event, kind, frame, fits=None if label == "n" else (label == "e") != negated)
    value = rng.choice(values)
    did, did_not = event.verb
    return (
        frame.format(
            s=person,
            v=NUMBERS[value] if isinstance(value, int) else value,
            item=event.item,
            items=ITEMS[event.item],
            did=did,
            does=did_not if negated else did,
            was="نبود" if negated else "بود",
        )
        + "."
    )


def _values(event: Event, kind: str, frame: str, *, fits: bool | None) -> list[str] | list[int]:
    """The values that make the affirmative frame true or false; None: those that leave it open."""
    if kind == "count":
        more = "بیش از" in frame
        numbers = range(1, 7) if more else range(2, 7)
        if fits is None:
            return [n for n in numbers if n > 1]
        count = int(event.told["count"])
        return [n for n in numbers if (count > n if more else count == n) == fits]
    words = SLOTS[kind]
    return [word for word in words if fits is None or (word == event.told[kind]) == fits]


def _hard(premise: str, hypothesis: str, label: str) -> tuple[bool, bool]:
    """Whether the negation rule, and whether the overlap rule, is wrong."""
    words = hypothesis.rstrip(".").split()
    negations = {"نبود", "برنگشت", *(did_not for _, did_not in VERBS)}
    says_contradicted = any(word in negations for word in words)
    told = set(premise.replace(".", " ").replace("،", " ").split())
    return says_contradicted != (label == "c"), (set(words) <= told) != (label == "e")
