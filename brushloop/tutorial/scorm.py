"""A guide as a SCORM 1.2 package: a zip that a learning platform takes in as a lesson, done when read to its end."""

from __future__ import annotations

from xml.etree import ElementTree

from brushloop.tutorial.book import Book
from brushloop.tutorial.openraster import zipped
from brushloop.tutorial.pages import own, page

CP = "http://www.imsproject.org/xsd/imscp_rootv1p1p2"
ADLCP = "http://www.adlnet.org/xsd/adlcp_rootv1p2"


def scorm(book: Book) -> bytes:
    """Zip bytes: `imsmanifest.xml`, one page, its script and its pictures."""
    html = page(book, lambda frame: f"pictures/{book.file(frame)}", script="scorm.js")
    files = {"index.html": html.encode(), "scorm.js": own("scorm.js").encode(), **book.files("pictures")}
    return zipped({"imsmanifest.xml": _manifest(book, list(files)), **files})


def _manifest(book: Book, files: list[str]) -> bytes:
    ElementTree.register_namespace("", CP)
    ElementTree.register_namespace("adlcp", ADLCP)

    def add(parent: ElementTree.Element, name: str, text: str | None = None, **attributes: str) -> ElementTree.Element:
        made = ElementTree.SubElement(parent, f"{{{CP}}}{name}", attributes)
        made.text = text
        return made

    root = ElementTree.Element(f"{{{CP}}}manifest", identifier="brushloop-guide", version="1.0")
    about = add(root, "metadata")
    add(about, "schema", "ADL SCORM")
    add(about, "schemaversion", "1.2")
    organization = add(add(root, "organizations", default="guide"), "organization", identifier="guide")
    add(organization, "title", book.guide.title)
    add(add(organization, "item", identifier="lesson", identifierref="page"), "title", book.guide.title)
    page = add(add(root, "resources"), "resource", identifier="page", type="webcontent", href="index.html")
    page.set(f"{{{ADLCP}}}scormtype", "sco")
    for name in files:
        add(page, "file", href=name)
    return ElementTree.tostring(root, "utf-8", xml_declaration=True)
