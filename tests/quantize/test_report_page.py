"""Checks a report page: well-formed HTML with the expected data inside and nothing from outside.

usage: test_report_page.py PAGE.html DATA.json [--browser PROGRAM]

With a browser (chromium) the page is also drawn, and the result is checked.
"""
import argparse
import html.parser
import json
import os
import subprocess
import tempfile

VOID = {"meta", "input", "br", "link", "img", "wbr"}


class Page(html.parser.HTMLParser):
    def __init__(self):
        super().__init__()
        self.open, self.ids, self.references = [], [], []
        self.texts, self.tags = {}, []

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        for name, value in attributes:
            assert not name.startswith("on"), f"an inline handler: {name}"
            assert name not in ("src", "href", "srcset", "action"), f"a reference: {name}={value}"
            if name == "id":
                assert value not in self.ids, f"two elements have the id {value}"
                self.ids.append(value)
            if name in ("for", "aria-labelledby"):
                self.references.append(value)
        if tag not in VOID:
            self.open.append((tag, dict(attributes).get("id")))

    def handle_startendtag(self, tag, attributes):
        self.handle_starttag(tag, attributes)
        self.handle_endtag(tag)

    def handle_endtag(self, tag):
        assert self.open and self.open[-1][0] == tag, f"</{tag}> closes {self.open[-1:]}"
        self.open.pop()

    def handle_data(self, data):
        if self.open:
            key = self.open[-1][1] or self.open[-1][0]
            self.texts[key] = self.texts.get(key, "") + data


def parse(text):
    page = Page()
    page.feed(text)
    page.close()
    return page


def check(path, expected):
    text = open(path, encoding="utf-8").read()
    assert text.startswith("<!doctype html>\n")
    page = parse(text)
    assert not page.open, f"left open: {page.open}"
    for reference in page.references:
        assert reference in page.ids, f"no element has the id {reference}"
    assert page.tags.count("script") == 2, "a name became a script"
    assert json.loads(page.texts["data"]) == expected, "the data inside differs"
    assert page.texts["title"] == "Conversion of " + expected["model"], page.texts["title"]
    for outside in ("http:", "https:", "@import", "url(", "fetch(", "XMLHttpRequest", "import("):
        assert outside not in text, f"the page refers to {outside}"


def check_drawn(path, expected, browser):
    with tempfile.TemporaryDirectory() as profile:
        drawn = subprocess.run(
            [browser, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={profile}",
             "--virtual-time-budget=5000", "--dump-dom", "file://" + os.path.abspath(path)],
            capture_output=True, text=True, check=True, timeout=120).stdout
    page = parse(drawn)
    assert page.texts["model"] == expected["model"], page.texts["model"]
    table = parse(drawn[drawn.index('<table id="layers"'):].split("</table>")[0] + "</table>")
    assert table.tags.count("tr") == len(expected["layers"]) + 1, "layers are missing"
    assert ("hidden" in drawn[drawn.index('<section id="comparison"'):].split(">")[0]) == (
        not expected["rivals"])


def main():
    arguments = argparse.ArgumentParser()
    arguments.add_argument("page")
    arguments.add_argument("data")
    arguments.add_argument("--browser")
    given = arguments.parse_args()
    expected = json.load(open(given.data, encoding="utf-8"))
    check(given.page, expected)
    if given.browser:
        check_drawn(given.page, expected, given.browser)


main()
