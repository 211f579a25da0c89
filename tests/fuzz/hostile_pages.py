"""Pages that Finviz would never send: what a parser may choke on, in every place of a page."""

from collections.abc import Callable, Mapping
from types import MappingProxyType

COUNT = '<div id="screener-total" class="count-text">#1 / 4 Total</div>'
HEADERS = "<tr><th>No.</th><th>Ticker</th></tr>"
ROW = '<tr><td><a href="quote?t=A">1</a></td><td><a href="quote?t=A">A</a></td></tr>'
END = "<!-- TS\nA|1|1\nTE -->\n</body></html>"

UNITS = (
    *("<b>", "<p>", "<div>", "<tr>", "<td>", "<table>", "<table><tr>", "<table><tr><td>"),
    *("<option>", '<select id="pageSelect"><option value=1>', "<option value=9>", "<a>"),
    *('<a href="quote?t=A">', "<a href='quote?t=A&t=A&t=A'></a>", ROW, "<tr><td>1</td></tr>"),
    *("<form ", "<form action=", "<form action= action=x ", "action=", "login_submit"),
    *("<form action=login_submit", "<FORM ACTION='x' ", "<title>", "stock screener "),
    *("count-text ", "<i class=count-text ", '<i class="count-text">', COUNT, "#1 / 4 Total"),
    *("js-screener-body-empty", '<i id="js-screener-body-empty">', "screener-total "),
    *("&amp;", "&#1;", "&#x110000;", "&lt", "&", "&#", "&nosuchentity;", "%s%n"),
    *("<!--", "-->", "<!--x-->", "<!-- TS ", "TE -->", "TE ", "<!-- TS\nTE -->", "A|1|1\n", "|"),
    *("<![CDATA[", "]]>", "<?x ", "<!DOCTYPE ", '<!ENTITY a "&a;&a;">', "</b>", "</", "<", ">"),
    *('"', "'", "=", "9", "9,", ",", "#1 / ", " ", "\n", "\t", "\0", "\ufeff", "é", "\U0001f4a3"),
    *(
        "<script>",
        "<style>",
        "<textarea>",
        "<svg><math>",
        "<template>",
        "<frameset>",
        "<plaintext>",
    ),
    *("FinvizSettings={", "FinvizSettings ", "FinvizSettings={hasUserPremium", "hasUserPremium:"),
    *("</html ", "</html>", "<body>", "<html>", "</table>", "<i a=1 a=1>", "a=1 ", "<a b='"),
)

Make = Callable[[int], str]


def _page(before: str = "", count: str = COUNT, cell: str = "", told: str = "A|1|1\n") -> str:
    row = ROW.replace("</td></tr>", f"{cell}</td></tr>")
    return (
        f"<html><title>Stock Screener</title><body>{before}{count}"
        f'<table class="screener_table">{HEADERS}{row}</table>'
        f"<!-- TS\n{told}TE -->\n</body></html>"
    )


def _times(unit: str, size: int) -> str:
    return unit * (size // len(unit))


PLACES: Mapping[str, Callable[[str], str]] = MappingProxyType(
    {
        "alone": lambda flood: flood,
        "before the count": lambda flood: _page(before=flood),
        "in the count": lambda flood: _page(count=COUNT.replace("#1", f"{flood}#1")),
        "in a tag": lambda flood: _page(count=f"<div {flood}>{COUNT}</div>"),
        "in a cell": lambda flood: _page(cell=flood),
        "in the list at the end": lambda flood: _page(told=flood),
    }
)


def _distinct(form: str) -> Make:
    """A flood of which every drop is another."""

    def made(size: int) -> str:
        return "".join(form.format(number) for number in range(size // len(form)))

    return made


FLOODS: Mapping[str, Make] = MappingProxyType(
    {
        **{repr(unit): (lambda size, unit=unit: _times(unit, size)) for unit in UNITS},
        "a million attributes": _distinct("a{0}={0} "),
        "tags of other names": _distinct("<x{}>"),
        "links to other tickers": _distinct('<a href="quote?t=A{}"></a>'),
        "rows of other tickers": _distinct(
            '<tr><td><a href="quote?t=A{0}">{0}</a></td><td><a href="quote?t=A{0}">A</a></td></tr>'
        ),
        "tickers in the list": _distinct("A{}|1|1\n"),
        "classes": _distinct("c{} "),
        "tags that close others": _distinct("<b></x{}><i></b>"),
        "one long number": lambda size: "1" + "0" * size,
        "one long name": lambda size: "<" + "n" * size + ">",
        "one long value": lambda size: '<a href="' + "quote?t=" * (size // 8) + '">',
        "one long query": lambda size: '<a href="quote?' + "t=A&" * (size // 4) + '">',
    }
)


def pages(size: int, flood: str) -> Mapping[str, Callable[[], str]]:
    """A flood in every place, of about ``size`` characters; made when called for."""
    return {
        f"{flood} {place}, {size}": lambda put=put: put(FLOODS[flood](size))
        for place, put in PLACES.items()
    }


EXPORT_HEADER = "No.,Ticker,Price,Volume\r\n"
EXPORTS: Mapping[str, Make] = MappingProxyType(
    {
        "short rows": lambda size: "Ticker\n" + "A\n" * (size // 2),
        "blank rows": lambda size: "Ticker\n" + "\n" * size,
        "commas": lambda size: "Ticker" + "," * size + "\n",
        "rows of commas": lambda size: "Ticker\n" + ",\n" * (size // 2),
        "a quote that never ends": lambda size: EXPORT_HEADER + '"' + "A" * size,
        "quotes": lambda size: EXPORT_HEADER + '"' * size,
        "quoted quotes": lambda size: EXPORT_HEADER + '"""",' * (size // 5) + "\n",
        "one long cell": lambda size: EXPORT_HEADER + "A" * size + "\n",
        "carriage returns": lambda size: EXPORT_HEADER + "\r" * size,
        "NUL": lambda size: EXPORT_HEADER + "\0" * size,
        "many columns": lambda size: "Ticker," * (size // 7) + "\n",
        "other tickers": lambda size: EXPORT_HEADER + _distinct("{0},A{0},1,1\r\n")(size),
        "numbers": lambda size: EXPORT_HEADER + "1,A," + "9" * size + ",1\r\n",
        "marks": lambda size: "\ufeff" * size,
        "login forms": lambda size: "<form action=login_submit " * (size // 26),
    }
)
