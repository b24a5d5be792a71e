# SPDX-License-Identifier: Apache-2.0
"""Write an annotated set, damage a file of annotations in a way that a seed decides, open it, and print what came of it.

python open_annotated.py FORM COUNT FOLDER SECONDS
"""

from __future__ import annotations

import json
import random
import re
import signal
import sys
import time
import traceback
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from annotated import written
from damaging import damaged_json, peak_megabytes
from open_damaged import damaged

from pellucid import data
from pellucid.data.batches import store
from pellucid.data.inspection import inspect
from pellucid.errors import DataError, UsageError

_NUMBER = re.compile(rb"-?\d+(?:\.\d+)?")
_WORDS = (
    b"-1", b"0", b"1e400", b"NaN", b"-Infinity", b"1e308", b"99999999999999999999", b"0.5", b"", b"null", b"true", b'"7"', b"x", b"1,5",
)  # fmt: skip


def mutated(content: bytes, json_text: bool, rng: random.Random) -> bytes:
    """The content of a file with one damage: a number of it, a value of its JSON, its encoding, or any bytes."""
    way = rng.random()
    if json_text and way < 0.4:
        return damaged_json(content.decode(), rng).encode("utf-8", "surrogatepass")
    if way < 0.6 and (numbers := list(_NUMBER.finditer(content))):
        number = rng.choice(numbers)
        return content[: number.start()] + rng.choice(_WORDS) + content[number.end() :]
    if way < 0.7:
        text = content.decode("latin-1")
        return rng.choice(
            (b"\xef\xbb\xbf" + content, text.encode("utf-16"), b"", b"\n" * 50, content + content, content[::-1])
        )
    return damaged(content, rng)


def opened(path: Path) -> tuple[str, ...]:
    """Open a set as a training and `pellucid data` do; returns the warnings."""
    found = data.open(path)
    warnings = inspect(found).warnings
    for split in found.splits.values():
        if len(split):
            store(split, (16, 16), found.channels)
    return warnings


def tried(form: str, seed: int, top: Path, files: list[Path], sound: tuple[str, ...]) -> tuple[str, str]:
    """What comes of one damage, which is mended again, with the sentences or the trace.

    It is "opened", "named" with other warnings than the sound set has, "refused", or "trace".
    """
    rng = random.Random(f"{form} {seed}")
    file = rng.choice(files)
    content = file.read_bytes()
    file.write_bytes(mutated(content, file.suffix == ".json", rng))
    try:
        said = " ".join(one for one in opened(top) if one not in sound)
    except (DataError, UsageError) as fault:
        return "refused", str(fault)
    except Exception:
        return "trace", traceback.format_exc()[-2500:]
    finally:
        file.write_bytes(content)
    return ("named", said) if said else ("opened", "")


def main(form: str, count: int, top: Path, seconds: int) -> None:
    """Open damaged sets one after the other."""
    files = written(form, top)
    sound = opened(top)
    for seed in range(count):
        begun = time.process_time()
        signal.alarm(seconds)  # ends the process: a hang is a result
        result, said = tried(form, seed, top, files, sound)
        signal.alarm(0)
        row = {"seed": seed, "result": result, "said": said, "seconds": time.process_time() - begun}
        print(json.dumps({**row, "megabytes": peak_megabytes()}), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3]), int(sys.argv[4]))
