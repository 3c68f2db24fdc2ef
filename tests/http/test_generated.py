"""10,000 responses made by chance: as the generator says, in any parts, and as other clients read them."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest

from .generated import Generated, generate
from .reading import Bad, Whole, read
from .test_reader import FRAMING

RESPONSES = 10_000
SEED = 12


def generated(seed: int, number: int) -> Iterator[tuple[random.Random, Generated]]:
    rng = random.Random(seed)
    for _ in range(number):
        yield rng, generate(rng)


def in_parts(rng: random.Random, data: bytes) -> list[bytes]:
    if len(data) < 300 and rng.random() < 0.3:
        return [data[at : at + 1] for at in range(len(data))]
    cuts = sorted(rng.randrange(len(data) + 1) for _ in range(rng.choice((1, 2, 5))))
    return [data[start:end] for start, end in zip([0, *cuts], [*cuts, len(data)], strict=True)]


@pytest.mark.parametrize("seed", range(SEED, SEED + 4))
def test_generated_responses_are_read_as_they_were_made(seed: int) -> None:
    for rng, made in generated(seed, RESPONSES // 4):
        result = read([made.data])
        if made.error is not None:
            assert isinstance(result, Bad), made
            assert result.error is made.error, (result, made)
        elif made.end is not None:
            check_beginning(made, result)
        else:
            assert isinstance(result, Whole), (result, made)
            headers = {name: value for name, value in result.headers.items() if name not in FRAMING}
            expected = {name: value for name, value in made.headers.items() if name not in FRAMING}
            assert headers == expected, made
            assert (result.status, result.body, result.keeps_alive) == (made.status, made.body, made.keeps_alive), made
        if not made.behind:
            assert read(in_parts(rng, made.data)) == result, made


def check_beginning(made: Generated, result: Whole | Bad) -> None:
    """Check what was read of a body which the end of the connection ends too early."""
    if isinstance(result, Bad):
        assert "content-encoding" in made.headers
        assert result.text == "its compressed body is cut off"
    else:
        assert made.body.startswith(result.body)
        assert (result.status, result.keeps_alive) == (made.status, False)
