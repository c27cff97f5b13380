"""The report: a line for the terminal, and a page with a time-line for people."""

import html
from collections import Counter
from collections.abc import Sequence
from math import inf
from pathlib import Path

import matplotlib as mpl
from matplotlib.figure import Figure

from tests.chaos.verdict import Kind, Verdict

mpl.use("Agg")
BIN_SECONDS = 0.25
COLOURS = {
    "fresh": "#2e7d32",
    "suspect": "#f9a825",
    "estimate": "#6a1b9a",
    "stale": "#ef6c00",
    "fallback": "#9e9e9e",
}
_STYLE = """body{font:15px/1.5 system-ui,sans-serif;max-width:70rem;margin:2rem auto;padding:0 1rem}
table{border-collapse:collapse;width:100%}
td,th{padding:.2rem .6rem;border-bottom:1px solid #ddd;text-align:left}
td.n{text-align:right}img{max-width:100%}.bad{color:#b71c1c}.good{color:#1b5e20}"""


def line_of(verdict: Verdict) -> str:
    """One run in one line."""
    run = verdict.run
    healed = "never" if run.heal_seconds is None else f"{run.heal_seconds:.1f} s"
    faults = ", ".join(f"{fault.fault} ({fault.began - run.began:.1f} s)" for fault in run.happened)
    found = f"{len(verdict.violations)} VIOLATIONS" if verdict.violations else "ok"
    return (
        f"seed {run.seed}, {run.world}: {found}; "
        f"{len(run.answers)} answers, {_fallbacks(verdict)} fallbacks, "
        f"{len(run.failed_tries)} turned elsewhere, "
        f"{_promised(verdict)} of {len(run.writes)} writes promised, "
        f"healed after {healed}, "
        f"timer late by {run.starved_seconds:.2f} s, waited {_waited(verdict):.0%}, "
        f"load {run.load:.0f} a processor, "
        f"peak {_peak_mb(verdict)} MB; {faults}{_beside(verdict)}"
    )


def _beside(verdict: Verdict) -> str:
    """How the calls of others ended."""
    run = verdict.run
    reported = [f"{who}: {dict(counts)}" for who, (_, counts) in run.beside.items()]
    if run.crowd:
        reported.append(f"crowd: {dict(run.crowd)}")
    return "".join(f"; {each}" for each in reported)


def summary_of(verdicts: Sequence[Verdict]) -> str:
    """All runs in a few lines."""
    counts: Counter[Kind] = Counter()
    for verdict in verdicts:
        counts += verdict.counts
    clean = sum(not verdict.violations for verdict in verdicts)
    heals = _heals(verdicts)
    healed = (
        f"healed after {heals[len(heals) // 2]:.1f} s (median), {heals[-1]:.1f} s (longest)" if heals else ""
    )
    return "\n".join(
        [
            f"{clean} of {len(verdicts)} runs without a violation",
            f"{sum(len(v.run.answers) for v in verdicts)} answers, "
            f"{sum(map(_fallbacks, verdicts))} of them fallbacks; "
            f"{sum(len(v.run.failed_tries) for v in verdicts)} calls turned elsewhere; "
            f"{sum(map(_promised, verdicts))} writes promised, {sum(map(_given_up, verdicts))} given up "
            f"with an emptied Redis; "
            f"{sum(len(v.run.happened) for v in verdicts)} faults; {healed}",
            ", ".join(f"{kind}: {counts[kind]}" for kind in Kind),
            *_worlds(verdicts),
            *_clients(verdicts),
        ]
    )


def _worlds(verdicts: Sequence[Verdict]) -> Sequence[str]:
    """Totals by world, as a table."""
    heads = ("world", "runs", "clean", "answers", "fallbacks", "promised", "lost", "twice", "faults")
    lines = [f"| {' | '.join(heads)} | healed, median | longest |", "|---" * (len(heads) + 2) + "|"]
    for world in dict.fromkeys(verdict.run.world for verdict in verdicts):
        those = [verdict for verdict in verdicts if verdict.run.world == world]
        sums = (
            len(those),
            sum(not verdict.violations for verdict in those),
            sum(len(verdict.run.answers) for verdict in those),
            sum(map(_fallbacks, those)),
            sum(map(_promised, those)),
            sum(verdict.counts[Kind.LOST] for verdict in those),
            sum(verdict.counts[Kind.TWICE] for verdict in those),
            sum(len(verdict.run.happened) for verdict in those),
        )
        heals = _heals(those) or [inf]
        middle, longest = heals[len(heals) // 2], heals[-1]
        lines.append(f"| {world} | {' | '.join(map(str, sums))} | {middle:.1f} s | {longest:.1f} s |")
    return lines


def _heals(verdicts: Sequence[Verdict]) -> Sequence[float]:
    """How long it took, in order; of those that healed at all."""
    return sorted(v.run.heal_seconds for v in verdicts if v.run.heal_seconds is not None)


def _clients(verdicts: Sequence[Verdict]) -> Sequence[str]:
    """By client of another stack: how its calls ended, all runs together."""
    by_client: dict[str, Counter[str]] = {}
    for verdict in verdicts:
        for who, (_, counts) in verdict.run.beside.items():
            by_client.setdefault(who, Counter()).update(counts)
    return [f"{who}: {dict(counts)}" for who, counts in sorted(by_client.items())]


def write_report(verdicts: Sequence[Verdict], folder: Path) -> None:
    """Write `index.html` with a picture of every run that was guilty of something, and of a few others."""
    drawn = [v for v in verdicts if v.violations][:20] + [v for v in verdicts if not v.violations][:10]
    for verdict in drawn:
        draw(verdict, folder / f"seed-{verdict.run.seed}.png")
    rows = "".join(_row(verdict) for verdict in verdicts)
    pictures = "".join(_section(verdict) for verdict in drawn)
    heads = [
        "seed",
        "world",
        "answers",
        "fallbacks",
        "elsewhere",
        "promised",
        "healed",
        "peak",
        "faults",
        "verdict",
    ]
    page = (
        f"<!doctype html><meta charset=utf-8><title>Weather report</title><style>{_STYLE}</style>"
        f"<h1>Weather report</h1><p>{html.escape(summary_of(verdicts)).replace(chr(10), '<br>')}</p>"
        f"<table><tr>{''.join(f'<th>{head}' for head in heads)}</tr>{rows}</table>{pictures}"
    )
    (folder / "index.html").write_text(page)


def _row(verdict: Verdict) -> str:
    run = verdict.run
    healed = "never" if run.heal_seconds is None else f"{run.heal_seconds:.1f} s"
    faults = html.escape(", ".join(fault.fault for fault in run.happened))
    colour, word = ("bad", f"{len(verdict.violations)} violations") if verdict.violations else ("good", "ok")
    return (
        f'<tr><td><a href="#seed-{run.seed}">{run.seed}</a><td>{run.world}<td class=n>{len(run.answers)}'
        f"<td class=n>{_fallbacks(verdict)}<td class=n>{len(run.failed_tries)}"
        f"<td class=n>{_promised(verdict)}<td class=n>{healed}<td class=n>{_peak_mb(verdict)} MB"
        f"<td>{faults}<td class={colour}>{word}</tr>"
    )


def _section(verdict: Verdict) -> str:
    items = "".join(
        f"<li>{violation.at:.2f} s, {violation.kind}: {html.escape(violation.words)}"
        for violation in verdict.violations[:50]
    )
    seed = verdict.run.seed
    return (
        f'<h2 id="seed-{seed}">Seed {seed}</h2><img src="seed-{seed}.png" alt="time-line of seed {seed}">'
        f"<ul>{items}</ul>"
    )


def draw(verdict: Verdict, file: Path) -> None:
    """Draw a run: what was broken when, what the answers were marked as, and where it was guilty."""
    run = verdict.run
    figure = Figure(figsize=(11, 6), layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(1, 2))
    for number, fault in enumerate(run.happened):
        began, length = fault.began - run.began, max(0.08, min(fault.ended, run.ended) - fault.began)
        above.barh(number, length, left=began, color="#c62828", alpha=0.75)
        above.text(began, number, f" {fault.fault} ({', '.join(fault.targets)})", va="center", fontsize=8)
    above.set_yticks([])
    above.set_title(f"seed {run.seed}: {'; '.join(f'{k}: {n}' for k, n in verdict.counts.items()) or 'ok'}")
    states = {name: Counter[int]() for name in COLOURS}
    for answer in run.answers:
        name = "fallback" if answer.is_fallback else answer.state
        if answer.started >= run.began and name in states:
            states[name][int((answer.ended - run.began) / BIN_SECONDS)] += 1
    bins = range(1 + max((max(counts, default=0) for counts in states.values()), default=0))
    below.stackplot(
        [number * BIN_SECONDS for number in bins],
        [[counts[number] / BIN_SECONDS for number in bins] for counts in states.values()],
        labels=list(states),
        colors=list(COLOURS.values()),
    )
    for violation in verdict.violations:
        below.axvline(violation.at, color="black", linewidth=0.6, alpha=0.5)
    below.set_xlabel("seconds")
    below.set_ylabel("answers a second, by their mark")
    below.legend(loc="upper right", fontsize=8)
    figure.savefig(file, dpi=80)


def _fallbacks(verdict: Verdict) -> int:
    return sum(answer.is_fallback for answer in verdict.run.answers)


def _promised(verdict: Verdict) -> int:
    return sum(write.status == "OK" for write in verdict.run.writes.values())


def _given_up(verdict: Verdict) -> int:
    run = verdict.run
    return sum(
        write.status == "OK" and write.is_given_up and identity not in run.counted
        for identity, write in run.writes.items()
    )


def _waited(verdict: Verdict) -> float:
    """The part of the time in which something that was needed waited for a processor."""
    spans = verdict.run.waits.spans
    return sum(span.seconds for span in spans) / max(1e-9, sum(span.ended - span.began for span in spans))


def _peak_mb(verdict: Verdict) -> int:
    return max((each.rss_bytes for each in verdict.run.resources), default=0) // 1_000_000
