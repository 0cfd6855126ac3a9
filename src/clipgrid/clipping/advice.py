"""From what a clipper saw to sentences: one of advice, and those about mistakes."""

from collections.abc import Iterator

import torch
from torch import Tensor

from clipgrid.clipping.groups import Group
from clipgrid.clipping.kinds import spelled
from clipgrid.clipping.record import Record
from clipgrid.clipping.shared import Telemetry

SOON, OFTEN, LONG = 10, 100, 1000  # steps after which mistakes are looked for
SAME = 1e-5  # relative; what torch's own clipping leaves of a norm above λ is within it
ADAPTIVE = "under Adam, which divides by the gradient's own scale, its value hardly matters"


def advice(record: Record, groups: list[Group], scaled: bool) -> str:
    """One sentence, for each group, from all that was seen. `scaled`: a loss scaler is used, which
    makes some steps overflow."""
    record.fetch()
    if not len(record):
        return "No step was seen yet: call the clipper after loss.backward()."
    rare = scaled and record.not_finite < 0.05 * len(record)
    if record.not_finite and not rare:
        return (
            f"The gradient was not finite at {times(record.not_finite, len(record))}, first"
            f" {record.first_not_finite}: find out why before you choose a threshold."
        )
    if len(record) < SOON:
        tell = "tells" if len(record) == 1 else "tell"
        return f"{counted(len(record))} {tell} nothing yet: ask again after {SOON} or more."
    for _, fault in of_gradients(record, groups):  # nothing else holds then
        return f"{fault[0].upper()}{fault[1:]}{'' if fault[-1] == '?' else '.'}"
    said = [
        of_group(
            group,
            record.of_group(number),
            int(record.fired[number]),
            record.shares[number].item(),
            len(record),
        )
        for number, group in enumerate(groups)
    ]
    if len(said) == 1:
        return said[0]
    return " ".join(f"{group.name}: {text}" for group, text in zip(groups, said, strict=True))


def of_group(group: Group, seen: Telemetry, fired: int, shares: float, steps: int) -> str:
    """`fired` counts steps at which anything was clipped, `shares` adds up the shares that were."""
    clip = group.clip
    by_norm = clip.kind.name == "norm"
    what = f"λ = {spelled(clip.threshold)}" if by_norm else str(clip)
    pieces = clip.kind.in_pieces  # then observed is that of a step's largest piece
    other = "their largest observed value" if pieces else "an observed value"
    subject = "a norm" if by_norm else other
    observed = seen.observed[seen.observed.isfinite()]
    if not len(observed):
        return f"{what}: nothing finite was observed in {counted(steps)}."
    half, nine, most, largest = quantiles(observed, 0.5, 0.9, 0.99, 1.0)
    spread = (
        f"half of the steps had {subject} below {half}, nine in ten below {nine}, 99 in a hundred"
        f" below {most}, and the largest was {largest}"
    )
    constant = bool((seen.limit == clip.threshold).all())  # λ is compared with what is observed
    if clip.observes:
        clipped = "something at one step" if pieces else "one step"
        at = f"; a threshold of {nine} would have clipped {clipped} in ten" if constant else ""
        return f"Nothing was clipped in {counted(steps)}: {spread}{at}."
    if not fired:
        return (
            f"{what} has never fired in {counted(steps)}, so clipping has changed nothing and the"
            f" learning rate is what to tune: {spread}."
        )
    if shares == steps:
        least = "" if pieces else f" (the smallest observed value was {figure(observed.min())})"
        raised = f". Or choose one above {half}, the median" if constant and not pieces else ""
        return (
            f"{what} clipped the whole gradient at each of {counted(steps)}{least}: under SGD that"
            f" is a learning rate, so tune it as one; {ADAPTIVE}{raised}."
        )
    some = "" if fired == shares else f", on average {100 * shares / steps:.2g}% of its pieces"
    if shares > steps / 2:
        towards = " or raise the threshold" if constant else ""
        towards += f" towards {nine}" if constant and not pieces else ""
        return (
            f"{what} fired at {times(fired, steps)}{some}, which is more than half: lower the"
            f" learning rate{towards}; {spread}."
        )
    return (
        f"{what} fired at {times(fired, steps)}{some}, and left at the least"
        f" {figure(seen.coefficient.min())} of a gradient's norm: {spread}."
    )


def times(some: int, steps: int) -> str:
    share = 100 * some / steps
    return f"{some} of {counted(steps)} ({'under 1' if share < 1 else f'{share:.0f}'}%)"


def counted(steps: int) -> str:
    return f"{steps} step{'s' * (steps != 1)}"


def quantiles(values: Tensor, *levels: float) -> list[str]:
    """torch.quantile takes 2**24 values at most; a record keeps fewer, or is thinned here."""
    values = values[:: -(-len(values) // 2**24)]
    return [figure(x) for x in torch.quantile(values, torch.tensor(levels, dtype=values.dtype))]


def figure(value: Tensor) -> str:
    return f"{value.item():.3g}"


def of_gradients(record: Record, groups: list[Group]) -> Iterator[tuple[str, str]]:
    """(key, sentence) where the gradients can't be those of the loss, by what was fetched."""
    norm = torch.linalg.vector_norm(
        torch.stack([record.of_group(number).norm for number in range(len(groups))]), dim=0
    )
    norm = norm[norm.isfinite()]
    if len(norm) >= SOON and not norm.any():
        yield (
            "zero",
            f"all gradients were 0 in {record.fetched} steps: is the clipper called after"
            " zero_grad() and before loss.backward()?",
        )
    elif len(norm) >= SOON and (found := atom(norm)):
        many, value = found
        yield (
            "clipped before",
            f"at {many} of {len(norm)} steps the norm was {value}, and never larger: the gradients"
            " seem to be clipped already, so take that other clipping away (gradient_clip_val,"
            " max_grad_norm, clip_grad_norm_)",
        )


def mistakes(record: Record, groups: list[Group]) -> Iterator[tuple[str, str]]:
    """(key, sentence) for what looks wrong in what was fetched. A mistake is told once by its
    key."""
    steps = record.fetched
    for key, sentence in of_gradients(record, groups):
        if key == "zero" or len(record.rows) >= OFTEN:
            yield key, sentence
    for group, fired, shares in zip(groups, record.fired, record.shares, strict=True):
        if group.clip.observes:
            continue
        which = f"{group.clip} (group {group.name})" if len(groups) > 1 else str(group.clip)
        if shares == steps >= OFTEN:
            yield (
                f"{group.name} always",
                f"{which} clipped the whole gradient at each of {steps} steps: under SGD that is"
                f" a learning rate; {ADAPTIVE}; advice() says how large gradients are",
            )
        elif fired == 0 and steps >= LONG:
            yield (
                f"{group.name} never",
                f"{which} has never fired in {steps} steps: so far it has changed nothing; advice()"
                " says how large gradients are",
            )


def atom(norm: Tensor) -> tuple[int, str] | None:
    """How often the largest norm came again to SAME, and that norm, where it is one step in ten or
    more, of fewer than OFTEN half: then it is no chance."""
    largest = norm.max()
    many = int((norm >= largest * (1 - SAME)).sum())
    return (
        (many, figure(largest))
        if many >= (0.1 if len(norm) >= OFTEN else 0.5) * len(norm)
        else None
    )
