"""What is journaled of an alert goes by place: each has to be where its name is."""

from database.journal import Entry
from domain.alert import Alert
from web.posted import NO_ALERT


def test_an_alert_stands_in_its_entry_as_it_is() -> None:
    """But for the sender's own identifier, which is last, and not journaled."""
    told = ["sender_time" if name == "time" else name for name in Alert._fields[:-1]]
    first = Entry._fields.index("ticker")
    assert Alert._fields[-1] == "alert_id"
    assert [*Entry._fields[first : first + len(told)]] == told
    assert len(NO_ALERT) == len(told)
    assert dict(zip(told, NO_ALERT, strict=True)) == {
        name: Entry._field_defaults[name] for name in told
    }
