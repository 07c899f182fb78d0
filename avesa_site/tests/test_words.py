"""One word for one thing, in American spelling: the words of docs/glossary.md, none retired."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
# What each retired word has become.
RETIRED = {
    r"\bset(s|ting)? aside\b|set_aside": "quarantined",
    r"side[ _-]tables?\b": "scratch table",
    r"\bworkspaces?\b|Workspace": "scratch tables",
    r"\bextents?\b|Extent": "progress",
    r"\bSHOWING\b": "PUBLISHING",
    r"\b(MOST|LONGEST)_": "MAX_",
    r"\b(LEAST|SHORTEST)_": "MIN_",
    r"\bOLDEST_": "MAX_..._AGE",
    r"\btold\b|\buntold\b|_told\b|\btold_": "notified, reported, sent, recorded",
    r"\bsays\b": "message; states, shows, reads",
    r"\b(no|some)body\b|_(no|some)body_": "no one, a person, a user",
    r"\bkill[ _]rate\b": "close rate",
    r"\bkept[ _]answers?\b": "query cache",
    r"\bletters?_|_letter\b|\bLetter\b": "public report, mail",
    r"\bUnwell\b|\bunwell\b": "CheckFailed; failed",
    r"\bas before \(": "no change (",
    r"\bis_test\b": "dry_run",
    r"(?i)\b\w*(colour|behaviour|neighbour|favour)": "-or",
    r"(?i)\b\w*(catalogue|labelled(?!by)|(?<!WAS_)cancelled|cancelling|licence)": "American",
    r"(?i)\b\w*(optimis|organis|utilis|normalis|recognis|summaris|authoris|serialis)\w*": "-iz-",
    r"(?i)\bcentre\b|\bgrey\b|\banalyse": "center, gray, analyze",
}
SUFFIXES = {".py", ".html", ".txt", ".md", ".sql", ".css", ".js", ".mjml", ".typ", ".toml", ".yml"}
SKIPPED = {"var", "node_modules"}
NESTED = len(ROOT.parts)
# The demo's tickets are written as customers write; this file has the list.
EXEMPT = ("avesa_site/demo/sample_lake/words.py", "avesa_site/tests/test_words.py")


def texts():
    for path in sorted(ROOT.rglob("*")):
        name = str(path.relative_to(ROOT))
        is_ours = not any(part in SKIPPED or part.startswith(".") for part in path.parts[NESTED:])
        if is_ours and path.suffix in SUFFIXES and name not in EXEMPT and path.is_file():
            yield name, path.read_text()


def test_no_retired_word_is_used():
    any_of_them = re.compile("|".join(p.replace("(?i)", "") for p in RETIRED), re.IGNORECASE)
    found = [
        f"{name}:{number}: {match[0]!r} (use: {instead})"
        for name, text in texts()
        if any_of_them.search(text)
        for number, line in enumerate(text.splitlines(), 1)
        for pattern, instead in RETIRED.items()
        for match in re.finditer(pattern, line)
    ]
    assert not found, f"{len(found)} retired words:\n" + "\n".join(found)
