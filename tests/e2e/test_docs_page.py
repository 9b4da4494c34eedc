"""The page at /docs/: everything it needs comes from the server itself."""

import re
from html.parser import HTMLParser
from urllib.parse import urljoin, urlsplit

ABSOLUTE = re.compile(r"(?:https?:)?//[a-z0-9-]+\.[a-z]", re.IGNORECASE)


class Links(HTMLParser):
    """Whatever a page makes a browser fetch."""

    def __init__(self, text: str):
        super().__init__()
        self.found: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.found += [value for name, value in attrs if name in ("src", "href") and value]


def test_the_short_address_leads_to_the_page(shared):
    response = shared.get("/docs", allow_redirects=False)
    assert response.status_code in (301, 307, 308)
    assert response.headers["location"] == "/docs/"


def test_page_and_assets_come_from_the_server(shared):
    page = shared.get("/docs/")
    assert page.ok and page.headers["content-type"].startswith("text/html")
    assert not ABSOLUTE.search(page.text)
    links = Links(page.text).found
    assert any(link.endswith(".js") for link in links)
    assert any(link.endswith(".css") for link in links)
    for link in links:
        path = urljoin("/docs/", link)
        assert not urlsplit(path).netloc, f"{link} is on another host"
        asset = shared.get(path)
        assert asset.ok and asset.content, link
        kind = asset.headers["content-type"]
        if link.endswith(".css"):
            assert kind.startswith("text/css")
            outside = re.findall(r"(?:url\(|@import)\s*['\"]?(?!data:)([^'\")]+)", asset.text)
            assert not [url for url in outside if ABSOLUTE.match(url)], link
        if link.endswith(".js"):
            assert "javascript" in kind


def test_the_page_shows_our_document_and_asks_no_validator(shared):
    script = shared.get("/docs/swagger-initializer.js").text
    assert "/openapi.json" in script
    assert not ABSOLUTE.search(script)
    assert re.search(r"""["']?validatorUrl["']?\s*:\s*["']none["']""", script)


def test_what_is_no_asset_is_not_found(shared):
    for path in ("/docs/nothing.js", "/docs/..%2f..%2fCargo.toml", "/docs/%2e%2e/models"):
        response = shared.get(path)
        assert response.status_code == 404, path
        assert response.json() == {"error": "Not Found"}
