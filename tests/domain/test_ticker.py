import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.ticker import exchange_name, normalise, split_symbol

symbols = st.text(alphabet="ABCabcß\uff11 \t.:/!_-09", max_size=40) | st.text(max_size=40)


@pytest.mark.parametrize(
    ("text", "ticker"),
    [
        ("AAPL", "AAPL"),
        ("  aapl\t", "AAPL"),
        ("ＡＡＰＬ", "AAPL"),  # noqa: RUF001  full-width letters, as some phones type them
        ("NASDAQ:AAPL", "AAPL"),
        ("NASDAQ_DLY:AAPL", "AAPL"),
        ("nyse: brk.b", "BRK-B"),
        ("BRK.B", "BRK-B"),
        ("BRK/B", "BRK-B"),
        ("BRK-B", "BRK-B"),
        ("AMEX:SPY", "SPY"),
        (":AAPL", "AAPL"),
        ("NASDAQ:NASDAQ:AAPL", "AAPL"),
        ("BTCUSDT.P", "BTCUSDT.P"),
        ("BYBIT:BTCUSDT.P", "BTCUSDT.P"),
        ("CME_MINI:NQ1!", "NQ1!"),
        ("ETH-PERP", "ETH-PERP"),
        ("7203", "7203"),
        ("V", "V"),
        ("A" * 32, "A" * 32),
    ],
)
def test_one_spelling_for_each_ticker(text: str, ticker: str) -> None:
    assert normalise(text) == ticker


@pytest.mark.parametrize(
    "text",
    [
        "",
        "  ",
        "NASDAQ:",
        "A" * 33,
        "A" * 100_000,
        "BRK B",
        "EUR/USD",
        "NASDAQ:AAPL/NASDAQ:MSFT",
        "NASDAQ:AAPL-NASDAQ:MSFT",
        "Straße",
        "\u0131bm",
        "АAPL",  # noqa: RUF001  the first letter is Cyrillic
        "<script>",
        "...",
        "AAPL\0",
    ],
)
def test_what_is_no_ticker_is_refused_without_being_repeated(text: str) -> None:
    with pytest.raises(ValueError) as refused:
        normalise(text)
    assert not text.strip() or text not in str(refused.value)


@given(symbols)
def test_normalising_twice_is_normalising_once(text: str) -> None:
    try:
        ticker = normalise(text)
    except ValueError:
        return
    assert normalise(ticker) == ticker


@given(symbols, st.sampled_from(["NASDAQ", "NYSE_DL", "BINANCE", "LSE"]))
def test_an_exchange_makes_no_other_ticker(text: str, exchange: str) -> None:
    try:
        ticker = normalise(text)
    except ValueError:
        return
    _, symbol = split_symbol(text)
    assert normalise(f"{exchange}:{symbol}") == ticker


def test_the_exchange_is_split_off_and_cleaned() -> None:
    assert split_symbol("nasdaq_dl: aapl ") == ("NASDAQ", "aapl")
    assert split_symbol("AAPL") == (None, "AAPL")
    assert exchange_name(" nyse_dly ") == "NYSE"
    assert exchange_name("N Y S E") is None
