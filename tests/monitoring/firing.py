"""For each alert: series at which it fires, and series at which it does not."""

from collections.abc import Mapping
from typing import TypeAlias

Series: TypeAlias = Mapping[str, str]
"""By name and labels: values as promtool writes them, one a minute."""

LONG = "x100"
"""Minutes; as often as what is given here is looked at."""


def steady(value: float) -> str:
    return f"{value}{LONG}"


def growing(by: float) -> str:
    return f"0+{by}{LONG}"


def one(name: str, bad: float, good: float) -> tuple[Series, Series]:
    """A gauge that is steadily too high, or low, and one that is not."""
    return {name: steady(bad)}, {name: steady(good)}


def counted(name: str, by: float = 1) -> tuple[Series, Series]:
    """A counter that grows, and one that stands."""
    return {name: growing(by)}, {name: steady(7)}


def histogram(name: str, labels: str = "") -> tuple[Series, Series]:
    """Everything above the last bound but one, and everything below the first."""
    high = {
        f'{name}_bucket{{le="0.001"{labels}}}': steady(0),
        f'{name}_bucket{{le="10"{labels}}}': growing(1),
        f'{name}_bucket{{le="+Inf"{labels}}}': growing(1),
    }
    return high, {series: growing(1) for series in high}


def both(bad: float, good: float, *names: str, of: float) -> tuple[Series, Series]:
    rest = {name: steady(of) for name in names[1:]}
    return {names[0]: steady(bad)} | rest, {names[0]: steady(good)} | rest


CASES: dict[str, tuple[Series, Series]] = {
    "RelayDown": one('up{job="relay"}', 0, 1),
    "RelayNotReady": one("relay_ready", 0, 1),
    "RelayProcessDown": one('relay_process_up{process="2"}', 0, 1),
    "RelayRestarts": (
        {'process_start_time_seconds{job="relay"}': growing(15)},
        {'process_start_time_seconds{job="relay"}': steady(1)},
    ),
    "RelayWorkerFailing": one('relay_worker_failures_in_row{worker="keeper"}', 3, 2),
    "RelayWorkerStuck": one('relay_worker_step_running_seconds{worker="keeper"}', 400, 20),
    "RelayEventLoopSlow": histogram("relay_event_loop_lag_seconds"),
    "RelayAlertsRefused": counted('relay_alerts_total{answer="503"}'),
    "RelayAlertsUnreadable": counted('relay_alerts_total{answer="422"}'),
    "RelayWrongTokens": counted('relay_tokens_refused_total{why="wrong"}'),
    "RelayAcceptSlow": histogram("relay_accept_seconds"),
    "RelayBacklogLarge": both(
        9_999, 9, "relay_signals_undecided", "relay_deliveries_unfinished", of=10
    ),
    "RelayVerdictsLate": one('relay_signals_undecided_oldest_age_seconds{side="sell"}', 11, 1),
    "RelayListStale": one('relay_list_trust{relay_list_trust="fresh"}', 0, 1),
    "RelayListFetchesFail": counted('relay_list_fetches_total{outcome="blocked"}'),
    "RelayListFetchOverdue": (
        {
            "relay_list_next_fetch_timestamp_seconds": steady(0),
            "relay_list_fetching_paused": steady(0),
        },
        {
            "relay_list_next_fetch_timestamp_seconds": steady(0),
            "relay_list_fetching_paused": steady(1),
        },
    ),
    "RelayListFetchingPaused": one("relay_list_fetching_paused", 1, 0),
    "RelayBuyingPaused": one("relay_buying_paused", 1, 0),
    "RelaySellWaiting": one("relay_sell_oldest_age_seconds", 61, 5),
    "RelayDeliveriesDead": counted('relay_deliveries_dead_total{cause="overdue"}'),
    "RelayDeliveriesHeld": one('relay_destination_held{destination="d",side="sell"}', 1, 0),
    "RelayBreakerOpen": (
        {'relay_destination_breaker{destination="d",breaker="open"}': steady(1)},
        {
            'relay_destination_breaker{destination="d",breaker="open"}': steady(0),
            'relay_destination_breaker{destination="off",breaker="open"}': steady(1),
            'relay_destination_state{destination="off",state="disabled"}': steady(1),
        },
    ),
    "RelayDestinationHeldBack": one('relay_destination_held_back_seconds{destination="d"}', 60, 0),
    "RelayDestinationWaiting": one(
        'relay_destination_oldest_age_seconds{destination="d",side="buy"}', 29, 5
    ),
    "RelayWindowFull": both(
        59,
        30,
        'relay_destination_window_used{destination="d",window="60s"}',
        'relay_destination_window_limit{destination="d",window="60s"}',
        of=60,
    ),
    "RelayDestinationOutOfUse": one(
        'relay_destination_state{destination="d",state="paused"}', 1, 0
    ),
    "RelayDestinationSlow": histogram("relay_attempt_seconds"),
    "RelayAttention": one('relay_attention_open{severity="urgent"}', 1, 0),
    "RelayNoticesFail": counted('relay_notices_total{kind="email",outcome="failed"}'),
    "RelayHeartbeatFails": counted('relay_heartbeat_total{outcome="failed"}'),
    "RelayDatabaseDown": one("relay_database_up", 0, 1),
    "RelayDatabaseFails": counted('relay_database_failures_total{pool="engines"}', 2),
    "RelayDatabaseBusy": one('relay_database_waiting{pool="pages"}', 2, 0),
    "RelayCommitsSlow": histogram("relay_database_commit_seconds", ',pool="engines"'),
    "RelayClockSkew": one("relay_database_clock_skew_seconds", -2, 0.1),
    "RelayChainBehind": one("relay_chain_unlinked_age_seconds", 400, 10),
    "RelayRetentionBehind": both(
        1e6, 1e5, "relay_history_oldest_age_seconds", "relay_history_retention_seconds", of=1e5
    ),
    "RelayDiskFilling": both(5e9, 5e10, "relay_data_free_bytes", "relay_data_disk_bytes", of=1e11),
    "RelayDiskFull": one("relay_data_free_bytes", 1e8, 1e10),
    "RelayMemoryHigh": one('process_resident_memory_bytes{job="relay"}', 2e9, 1.5e8),
    "RelayProcessorFull": counted('process_cpu_seconds_total{job="relay"}', 60),
    "RelayFilesOpen": both(
        900, 90, 'process_open_fds{job="relay"}', 'process_max_fds{job="relay"}', of=1000
    ),
}
