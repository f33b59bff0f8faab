"""The parts of a page of HTML that loads nothing from anywhere: text, tables, embedded pictures, the page itself."""

import base64
import html
import json

_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; color: #1b1b1b; background: #fff; max-width: 60rem; margin: 0 auto;
       padding: 0 1rem 3rem; overflow-wrap: anywhere; }
h1 { font-size: 1.6rem; line-height: 1.2; } h2 { font-size: 1.25rem; margin-top: 2.5rem; border-bottom: 1px solid #bbb; }
h3 { font-size: 1rem; margin: 1.5rem 0 .3rem; } h2 a { color: inherit; text-decoration: none; }
nav ul { columns: 14rem; padding-left: 1.2rem; } a { color: #00559e; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; overflow-wrap: normal; }
th, td { padding: .2rem .6rem; border-bottom: 1px solid #ddd; text-align: right; white-space: nowrap; }
th:first-child, td:first-child { text-align: left; } tr.paper { background: #f1f1f1; }
dl { display: grid; grid-template-columns: minmax(7rem, max-content) 1fr; gap: .1rem 1rem; }
dt { color: #555; } dd { margin: 0; }
figure { margin: 1rem 0; } figcaption { color: #444; font-size: .9rem; }
figure img { box-sizing: border-box; max-width: 100%; height: auto; border: 1px solid #ccc; }
svg { width: 100%; max-width: 44rem; height: auto; }
.note { border-left: 4px solid #c77700; background: #fff6e5; padding: .4rem .8rem; }
.missing { border-left: 4px solid #888; background: #f1f1f1; padding: .4rem .8rem; }
@media (max-width: 40rem) { figure img { max-width: none; max-height: none; }
  figure img.fits { max-width: 100%; } dl { display: block; } dd { margin: 0 0 .4rem; } }
@media print { .scroll { overflow: visible; } figure { break-inside: avoid; } }
"""


def escape(text):
    """Text for HTML, between tags and in attributes; what cannot be printed becomes its Python escape."""
    printable = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in str(text))
    return html.escape(printable, quote=True)


def picture(image, alt, caption, fits=False):
    """A figure of a BGR uint8 image as embedded PNG."""
    from stal.pictures.canvas import png_bytes

    height, width = image.shape[:2]
    data = base64.b64encode(png_bytes(image)).decode()
    fits = ' class="fits"' if fits else ""
    return figure(f'<img{fits} width="{width}" height="{height}" alt="{escape(alt)}" src="data:image/png;base64,{data}">',
                   caption)


def figure(content, caption, scroll=True):
    """Content with a caption; wide content scrolls within its own box."""
    content = f'<div class="scroll">{content}</div>' if scroll else content
    return f"<figure>{content}<figcaption>{escape(caption)}</figcaption></figure>"


def table(header, rows, paper=()):
    """``rows`` of cells, then the paper's, marked."""
    def line(cells, attribute=""):
        return f"<tr{attribute}>" + "".join(f"<td>{escape(cell)}</td>" for cell in cells) + "</tr>"
    return ('<div class="scroll"><table><thead><tr>' + "".join(f"<th>{escape(cell)}</th>" for cell in header)
            + "</tr></thead><tbody>" + "".join(line(row) for row in rows)
            + "".join(line(row, ' class="paper"') for row in paper) + "</tbody></table></div>")


def facts(pairs):
    """A list of (name, value)."""
    return "<dl>" + "".join(f"<dt>{escape(key)}</dt><dd>{escape(_said(value))}</dd>" for key, value in pairs) + "</dl>"


def _said(value):
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def note(sentence):
    """A sentence that must not be overlooked."""
    return f'<p class="note">{escape(sentence)}</p>'


def missing(sentence):
    """A sentence about what could not be shown."""
    return f'<p class="missing">{escape(sentence)}</p>'


def document(title, sections):
    """The page of (anchor, title, content) sections."""
    contents = "".join(f'<li><a href="#{anchor}">{escape(name)}</a></li>' for anchor, name, _ in sections)
    body = "".join(f'<section><h2 id="{anchor}"><a href="#{anchor}">{escape(name)}</a></h2>{content}</section>\n'
                   for anchor, name, content in sections)
    return ('<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
            '<meta name="viewport" content="width=device-width, initial-scale=1">'
            '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; img-src data:; '
            'style-src \'unsafe-inline\'">'
            f"<title>{escape(title)}</title><style>{_STYLE}</style></head>\n<body><h1>{escape(title)}</h1>"
            f'<nav aria-label="Contents"><ul>{contents}</ul></nav>\n<main>{body}</main></body></html>\n')
