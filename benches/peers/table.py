"""The Markdown table: medians, ratios to Bun of the same pass, and how far both spread."""
import pathlib, statistics

from measure import DIGITS, TITLES

BEGIN, END = "<!-- peers: begin -->", "<!-- peers: end -->"
BASE = "Bun"


def spread(values, digits):
    return f"{min(values):,.{digits}f}–{max(values):,.{digits}f}"


def cell(title, name, passes, digits):
    """`passes`: for each pass, title → server → value."""
    own = [one[title][name] for one in passes if name in one[title]]
    if not own:
        return "–"
    text = f"{statistics.median(own):,.{digits}f} ({spread(own, digits)})"
    ratios = [one[title][name] / one[title][BASE] for one in passes if one[title].get(BASE) and name in one[title]]
    if ratios and name != BASE:
        text += f", {statistics.median(ratios):.2f} × ({spread(ratios, 2)})"
    return text


def markdown(passes, names, notes):
    lines = [notes[0], "", "| | " + " | ".join(names) + " |", "|---|" + "---|" * len(names)]
    for title, digits in zip(TITLES, DIGITS):
        lines.append(f"| {title} | " + " | ".join(cell(title, name, passes, digits) for name in names) + " |")
    return "\n".join([*lines, "", *(f"- {note}" for note in notes[1:])]) + "\n"


def write(path, text):
    """Puts the table between the two marks of a page."""
    path = pathlib.Path(path)
    page = path.read_text()
    if page.count(BEGIN) != 1 or page.count(END) != 1 or page.index(BEGIN) > page.index(END):
        raise SystemExit(f"{path}: expected one line {BEGIN} and after it one line {END}")
    before, after = page.split(BEGIN)[0], page.split(END)[1]
    path.write_text(f"{before}{BEGIN}\n{text}{END}{after}")
