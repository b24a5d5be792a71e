"""read: letters, their preparation, what is learned and measured, and the forms of answers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
import torch
from read_pages import CLASSES, look, photographed, printed

import pellucid
from pellucid.data.draws import Draws
from pellucid.errors import DataError, UsageError
from pellucid.inference import evaluate, predict
from pellucid.run import Run
from pellucid.tasks.read import Read, forms, metrics
from pellucid.tasks.read.alphabet import character, comparable
from pellucid.tasks.read.answers import Letter, Page, page_of
from pellucid.tasks.read.crops import crop
from pellucid.tasks.read.language import Words, chosen, neighbourly
from pellucid.tasks.read.options import ReadOptions
from pellucid.tasks.read.page import read
from pellucid.tasks.read.preparing import prepared
from pellucid.tasks.read.varying import Varying


def page(text: str) -> Page:
    """A page as if it had been read."""
    letters = []
    for number, line in enumerate(text.splitlines()):
        x = 10.0
        for place, word in enumerate(line.split()):
            for one in word:
                shares = np.full(36, 0.2 / 35, np.float32)
                shares[CLASSES.index(one)] = 0.8
                box = (x, 20.0 + 50 * number, x + 20, 50.0 + 50 * number)
                letters.append(Letter(box, CLASSES.index(one), shares, number, place, "evidence"))
                x += 25
            x += 25
    return Page(tuple(letters), 3.0, 30.0)


# -- one preparation


def test_a_crop_of_a_page_and_a_training_image_of_the_letter_become_the_same_picture() -> None:
    """The letter R, once alone on light paper, once cut out of a dark page in another light, beside others."""
    alone = photographed(printed(["R"], 24, (56, 56), (16, 12)), noise=0)
    found = read(photographed(printed(["TRY"], 60, (150, 400), (40, 30)), shadow=0.5, noise=0), look)
    assert found.seen is not None and found.parts is not None
    cut = found.lines[0].letters[1].crop
    one = prepared(torch.from_numpy(alone / np.float32(255))[None, None], (40, 40))
    other = prepared(torch.from_numpy(cut)[None, None], (40, 40))
    alike = float((one * other).sum() / (one.norm() * other.norm()))
    assert alike > 0.93
    flipped = float((one.flip(3) * other).sum() / (one.norm() * other.norm()))
    assert flipped < 0.75  # other pictures are not alike


def test_preparing_twice_changes_little_and_light_strokes_are_as_dark_ones() -> None:
    dark = torch.from_numpy(photographed(printed(["K"], 26, (48, 48), (12, 8)), noise=0) / np.float32(255))[None, None]
    once = prepared(dark, (40, 40))
    assert float((prepared(once, (40, 40)) - once).abs().mean()) < 0.035
    assert float((prepared(1 - dark, (40, 40)) - once).abs().mean()) < 0.035


def test_a_training_letter_keeps_its_shape_whatever_that_of_its_image(tmp_path: Path) -> None:
    """What the training is given of high and wide images of a letter is what evaluation sees of them."""
    from PIL import Image

    from pellucid.training.feed import Feed
    from pellucid.training.plan import Plan

    for name, at in (("I", 14), ("H", 8), ("M", 4)):
        (tmp_path / name).mkdir()
        for k, (size, x, y) in enumerate(
            [((60, 34), at, 14), ((34, 60), at + 14, 2), ((40, 40), at, 6), ((64, 40), at, 8)]
        ):
            letter = photographed(printed([name], 24, size, (x, y)), seed=k, noise=0.004)
            Image.fromarray(letter).save(tmp_path / name / f"{k}.png")
    feed = Feed(Plan.of("read", tmp_path, "convnet", {"batch_size": 2, "device": "cpu", "size": 40}))
    split = pellucid.data.open(tmp_path)["train"]
    batch = feed.train.batch(torch.arange(len(split)))
    ratios = []
    for given, k in zip(batch.images, batch.index.tolist(), strict=True):
        own = prepared(torch.from_numpy(np.array(split.images.read(k, 1)))[None].float() / 255, (40, 40))
        one = prepared(given[None].float() / 255, (40, 40))
        assert float((own * one).sum() / (own.norm() * one.norm())) > 0.88, split.names[k]
        ratios.append(split.images.sizes[k, 0] / split.images.sizes[k, 1])
    assert min(ratios) < 0.6 and max(ratios) > 1.5


def test_the_letter_is_in_the_middle_at_one_height_wherever_it_was() -> None:
    image = torch.ones(2, 1, 60, 40)
    image[0, :, 5:25, 3:9] = 0.3
    image[1, :, 30:40, 30:33] = 0.3
    seen = prepared(image, (40, 40)) > 0.5
    for one in seen:
        rows, columns = np.nonzero(one[0].numpy())
        assert rows.max() + 1 - rows.min() == pytest.approx(0.78 * 40, abs=2)
        assert (rows.max() + 1 + rows.min()) / 2 == pytest.approx(20, abs=1)
        assert (columns.max() + 1 + columns.min()) / 2 == pytest.approx(20, abs=1)


def test_a_crop_shows_its_own_ink_alone() -> None:
    found = read(photographed(printed(["LI"], 40, (120, 160), (30, 30))), look)
    assert found.seen is not None and found.parts is not None
    both = crop(found.seen, found.parts, [0, 1])
    single = crop(found.seen, found.parts, [0])
    assert (both < 0.5).any(0).sum() > (single < 0.5).any(0).sum()


# -- what the network learns


def test_some_training_pictures_show_no_letter_and_the_batch_may_be_shared() -> None:
    ink = torch.rand(64, 1, 40, 40)
    varying = Varying(0.3, 0.9, 10, 0.15, 0.8, 0.2, 0.5)
    letters, odd = varying(ink, Draws.step(0, 1, slice(0, 64), 64))
    assert 0.3 < float(odd.float().mean()) < 0.7
    half, same = varying(ink[32:], Draws.step(0, 1, slice(32, 64), 64))
    torch.testing.assert_close(letters[32:], half)
    assert torch.equal(odd[32:], same)
    assert not bool(Varying(0.3, 0.9, 10, 0.15, 0.8, 0.2, 0.0)(ink, Draws.step(0, 1, slice(0, 64), 64))[1].any())


def test_a_shadow_leaves_false_ink_on_its_dark_side_in_half_of_the_letters() -> None:
    ink = torch.zeros(64, 1, 24, 24)
    draws = [Draws.step(0, 1, slice(0, 64), 64) for _ in range(2)]
    plain, _ = Varying(0.3, 0, 10, 0.15, 0, 0, 0)(ink, draws[0])
    shaded, _ = Varying(0.3, 0, 10, 0.15, 0, 0, 0, 0.5)(ink, draws[1])
    more = (shaded - plain)[:, 0]  # the rest is drawn as without shadows
    touched = more.amax((1, 2)) > 0.01
    assert 20 < int(touched.sum()) < 44 and float(more.min()) >= 0 and 0.3 < float(more.max()) <= 0.5
    dark = (more > 1e-4).float().mean((1, 2))[touched]
    assert float(dark.max()) < 1 and float(dark.min()) > 0, "there is a light side"


def test_data_without_letters_are_refused() -> None:
    with pytest.raises(DataError, match=r"has no labels, which read needs"):
        Read().read(pellucid.data.open("patches"))


@pytest.mark.parametrize("options", [{"slant": 2.0}, {"strange": 1.0}, {"label_smoothing": 1.0}])
def test_options_out_of_range_are_refused(options: dict[str, float]) -> None:
    with pytest.raises(UsageError, match=next(iter(options))):
        Read(**options)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run that has hardly learned anything."""
    from pellucid.training.training import train

    folder = tmp_path_factory.mktemp("read")
    return train(
        "read", "glyphs", None, folder / "run", epochs=1, limit=128, device="cpu", progress=False, widths=(8, 16)
    )


def test_the_model_is_normalised_by_letters_as_it_sees_them(small: Run) -> None:
    """Ink on black is far darker than their photographs, by a plain loop."""
    from pellucid.data.batches import store

    split = pellucid.data.open("glyphs")["train"].select(range(0, 400, 8))
    images = store(split, (32, 32), 1)
    mean, spread = Read(side=(32, 32)).statistics(images)
    seen = [prepared(torch.from_numpy(np.array(split.images.read(k, 1)))[None] / 255.0, (32, 32)) for k in range(50)]
    values = torch.cat([one.flatten() for one in seen]).double()
    assert mean.tolist() == pytest.approx([values.mean().item()], abs=1e-5)
    assert spread.tolist() == pytest.approx([values.std(correction=0).item()], abs=1e-5)
    raw, _ = images.statistics()
    fitted = small.model().normalize.mean.flatten().tolist()
    assert fitted == pytest.approx(mean.tolist(), abs=0.03)
    assert abs(float(raw) - fitted[0]) > 0.05


def test_a_run_reads_pages_single_letters_and_is_measured_on_both(small: Run, tmp_path: Path) -> None:
    from PIL import Image

    (tmp_path / "pages").mkdir()
    for name, lines in (("a.png", ["TWO LINES", "OF TEXT"]), ("b.png", ["ONE"]), ("c.png", ["LAST"])):
        Image.fromarray(photographed(printed(lines, size=(200, 400)))).save(tmp_path / "pages" / name)
    texts = {"a.png": ["TWO LINES", "OF TEXT"], "b.png": ["ONE"], "c.png": ["LAST"]}
    (tmp_path / "pages" / "truth.json").write_text(json.dumps(texts))
    rows = predict(small, tmp_path / "pages" / "a.png", tmp_path / "out", also=("txt", "hocr", "alto"))
    assert {"text", "lines", "letter_height", "turned", "letters"} <= set(rows[0])
    assert {file.name for file in (tmp_path / "out").iterdir()} >= {
        "a.png",
        "a.txt",
        "a.hocr",
        "a.alto.xml",
        "predictions.json",
    }
    single = predict(small, np.zeros((32, 32), np.uint8), single=True)
    assert set(single[0]["probabilities"]) == set(CLASSES)
    found = evaluate(small, tmp_path / "pages")
    assert found["main"] == "cer"
    assert found["details"]["letters"] == sum(len("".join(own).replace(" ", "")) for own in texts.values())
    of_letters = evaluate(small, baselines=False)
    assert of_letters["main"] == "accuracy"
    assert "cer" not in of_letters["model"]


# -- characters, neighbours, words


def test_classes_are_characters_or_their_unicode_names() -> None:
    assert [character(name) for name in ("A", "DIGIT SEVEN", "CYRILLIC CAPITAL LETTER ZHE", "smudge")] == [
        "A",
        "7",
        "Ж",
        "smudge",
    ]
    assert comparable("1. to-do", CLASSES) == "1 TODO"


@pytest.mark.parametrize(
    ("sure", "other", "word"),
    [("1O5T", "I05T", "IOST"), ("20Z6", "2OZ6", "2026"), ("B", "8", "B"), ("A7", "AT", "AT")],
)
def test_look_alikes_follow_their_neighbours(sure: str, other: str, word: str) -> None:
    """Each letter is a little likelier to be `sure` than its look-alike, which is `other` or from the usual pairs."""
    alike = dict(zip("01258OIZSB", "OIZSB01258", strict=True))
    shares = np.full((len(sure), 36), 1e-3, np.float32)
    for row, one, second in zip(shares, sure, other, strict=True):
        row[CLASSES.index(one)] = 0.55
        row[CLASSES.index(second if second != one else alike.get(one, one))] = (
            0.55 if second == one and one not in alike else 0.4
        )
    assert "".join(CLASSES[k] for k in neighbourly(shares, CLASSES)) == word


def test_a_clear_mixture_of_letters_and_digits_stays() -> None:
    shares = np.full((3, 36), 1e-4, np.float32)
    for row, one in zip(shares, "B47", strict=True):
        row[CLASSES.index(one)] = 0.99
    assert "".join(CLASSES[k] for k in neighbourly(shares, CLASSES)) == "B47"


def test_a_list_of_words_decides_where_the_evidence_is_near_and_not_where_it_is_clear() -> None:
    shares = np.full((4, 36), 1e-3, np.float32)
    for row, one in zip(shares, "HAUE", strict=True):
        row[CLASSES.index(one)] = 0.6
    shares[2, CLASSES.index("V")] = 0.3
    plain = shares.argmax(1)
    words = Words(["have", "hate"], CLASSES)
    assert "".join(CLASSES[k] for k in chosen(shares, plain, words)) == "HAVE"
    shares[2] = 1e-5
    shares[2, CLASSES.index("U")] = 1
    assert "".join(CLASSES[k] for k in chosen(shares, plain, words)) == "HAUE"
    assert chosen(shares, plain, None) is plain


def test_a_list_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"words=.*cannot be read as text"):
        ReadOptions(words=str(tmp_path / "none.txt")).vocabulary()
    (tmp_path / "empty.txt").write_text(" \n")
    with pytest.raises(UsageError, match="has no word"):
        ReadOptions(words=str(tmp_path / "empty.txt")).vocabulary()
    with pytest.raises(UsageError, match="leave out --single"):
        ReadOptions(single=True, also=("hocr",))


# -- measures


def distance(one: str, other: str) -> int:
    """Levenshtein's distance by a plain loop."""
    row = list(range(len(other) + 1))
    for i, a in enumerate(one, 1):
        last, row[0] = row[0], i
        for j, b in enumerate(other, 1):
            last, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, last + (a != b))
    return row[-1]


def test_edits_are_levenshteins() -> None:
    rng = np.random.default_rng(0)
    for _ in range(40):
        one, other = ("".join(rng.choice([*"AB "], int(rng.integers(0, 12)))) for _ in range(2))
        pairs = metrics.aligned(one, other)
        assert sum(a < 0 or b < 0 or one[a] != other[b] for a, b in pairs) == distance(one, other)
        assert [a for a, _ in pairs if a >= 0] == list(range(len(one)))
        assert [b for _, b in pairs if b >= 0] == list(range(len(other)))


def measured(read_text: str, true: str) -> dict[str, float]:
    records = metrics.columns([page(read_text)], [true], CLASSES)
    return {metric.key: metric.value(records) for metric in metrics.METRICS}


def test_errors_of_characters_words_and_order_by_hand() -> None:
    none_wrong = dict.fromkeys(("cer", "wer", "missed", "mistaken", "false", "misplaced"), 0)
    assert measured("TO DO LIST", "To do\nlist.") == {**none_wrong, "found": 1}
    one = measured("TO D0 LIT", "TO DO LIST")
    assert one["found"] == pytest.approx(7 / 8)  # D0 for DO is a letter found, and taken for another
    assert one["mistaken"] == pytest.approx(1 / 7)
    assert one["cer"] == pytest.approx(2 / 10)
    assert one["wer"] == pytest.approx(2 / 3)
    assert one["missed"] == pytest.approx(1 / 8)
    assert one["false"] == 0
    assert measured("DO TO LIST", "TO DO LIST")["misplaced"] == pytest.approx(1 / 3)
    assert measured("X", "")["cer"] == 1
    assert measured("", "")["cer"] == 0


# -- answers


def test_a_row_has_the_text_and_every_letters_evidence() -> None:
    row = forms.row("p.jpg", page("TO DO\nNOW"), CLASSES)
    assert row["text"] == "TO DO\nNOW"
    assert (row["lines"], row["words"], row["unsure"]) == (2, 3, 0)
    letter = row["letters"][2]
    assert (letter["label"], letter["line"], letter["word"], letter["probability"]) == ("D", 1, 2, 0.8)
    assert len(letter["top"]) == 3 and next(iter(letter["top"])) == "D"
    json.dumps(row)


def test_a_page_without_text_says_so() -> None:
    row = forms.row("p.jpg", Page(()), CLASSES)
    assert row["text"] == "" and row["letters"] == [] and row["note"] == "No text was found."
    for form in (forms.hocr, forms.alto):
        ElementTree.fromstring(form(row, (100, 200)))
    doubted = forms.row("p.jpg", Page((), doubted=7), CLASSES)["note"]
    assert doubted == "No text was found: 7 shapes have the size of letters, but too little speaks for a text."


def test_hocr_and_alto_have_each_word_with_its_box() -> None:
    row: dict[str, Any] = forms.row("a & b.jpg", page("TO DO\nNOW"), CLASSES)
    whole = ElementTree.fromstring(forms.hocr(row, (200, 300)))
    words = [one for one in whole.iter() if one.get("class") == "ocrx_word"]
    assert ["".join(one.itertext()) for one in words] == ["TO", "DO", "NOW"]
    assert words[1].get("title") == "bbox 85 20 130 50; x_wconf 80"
    other = ElementTree.fromstring(forms.alto(row, (200, 300)))
    strings = [one for one in other.iter() if one.tag.endswith("String")]
    assert [one.get("CONTENT") for one in strings] == ["TO", "DO", "NOW"]
    assert [strings[1].get(key) for key in ("HPOS", "VPOS", "WIDTH", "HEIGHT")] == ["85", "20", "45", "30"]


def test_boxes_and_letters_are_drawn_and_unsure_ones_marked() -> None:
    from pellucid.tasks.read import drawing

    image = np.full((3, 120, 200), 255, np.uint8)
    sure = drawing.drawn(image, page("TO"), CLASSES)
    assert sure.shape == image.shape and (sure != image).any()
    letter = page("T").letters[0]
    unsure = Page((Letter(letter.box, letter.index, letter.shares * 0.5, 0, 0, "evidence"),), 3, 30)
    assert (drawing.drawn(image, unsure, CLASSES) != image).sum() > (
        drawing.drawn(image, page("T"), CLASSES) != image
    ).sum()


def test_what_was_decided_by_whom_is_kept() -> None:
    found = read(photographed(printed(["LIST"])), look)
    for letter in found.lines[0].letters[1:2]:
        letter.shares[:] = 0.01
        letter.shares[CLASSES.index("1")], letter.shares[CLASSES.index("I")] = 0.5, 0.4
    answer = page_of(found, CLASSES)
    assert answer.lines(CLASSES) == ["LIST"]
    assert [letter.decided for letter in answer.letters] == ["evidence", "neighbours", "evidence", "evidence"]
    assert forms.row("p", answer, CLASSES)["letters"][1]["top"]["1"] == pytest.approx(0.5)
