"""Read the whole file, and the tables that occur once: gateway, postfix, sendmail, policyd, milter, monitoring.

The defaults of keys that are not set are those of `core.model`, written down there and nowhere else.
"""

from typing import Literal

from closedmail.config.addresses import DOMAIN, NETWORK
from closedmail.config.checks import check_listeners
from closedmail.config.locations import METRICS_WHERE, OPTIONAL_PATH, PATH, POSTFIX_PATH, TEXTFILE, WHERE
from closedmail.config.network_tables import read_networks
from closedmail.config.partner_table import read_partners
from closedmail.config.toml_table import Faults, Table, keys_of
from closedmail.config.values import (
    AUTHSERV_ID,
    DURATION,
    GROUP,
    POSTFIX_MAP_TYPE,
    SENDMAIL_MAP_TYPE,
    SOCKET_MODE,
)
from closedmail.core.model import Config, Gateway, Milter, Monitoring, Policyd, PostfixMaps, SendmailMaps
from closedmail.errors import ConfigError

_TOP = ("gateway", "postfix", "sendmail", "policyd", "milter", "monitoring", "network", "partner")
_ON_FAILURE: tuple[Literal["disconnect", "dunno"], ...] = ("disconnect", "dunno")


def read_config(data: dict[str, object], path: str, faults: Faults) -> tuple[Config, list[ConfigError]]:
    """Read the whole file, as tomllib gives it. Return the configuration, and all faults; it counts if there are none.

    `faults` has those of the files that it was made of.
    """
    top = Table("", data, _TOP, faults)
    gateway = _read_gateway(top.table("gateway", keys_of(Gateway)))
    postfix = _read_postfix(top.table("postfix", keys_of(PostfixMaps))) if top.has("postfix") else None
    sendmail = _read_sendmail(top.table("sendmail", keys_of(SendmailMaps))) if top.has("sendmail") else None
    policyd = _read_policyd(top.table("policyd", keys_of(Policyd)))
    milter = _read_milter(top.table("milter", keys_of(Milter)))
    monitoring = _read_monitoring(top.table("monitoring", keys_of(Monitoring)))
    check_listeners(policyd, milter, faults)
    networks, sound = read_networks(top)
    partners = read_partners(top, networks, sound)
    config = Config(path, gateway, postfix, sendmail, policyd, milter, monitoring, networks, partners)
    return config, faults.found


def _read_gateway(table: Table) -> Gateway:
    default = Gateway(own_domains=())
    own_domains = table.texts("own_domains", (), DOMAIN)
    if not own_domains and table.sound:
        table.fault(
            "own_domains", 'required, and not set or empty; name the domains you receive mail for: ["city.example"]'
        )
    return Gateway(
        own_domains=tuple(dict.fromkeys(own_domains)),
        state_dir=table.text("state_dir", default.state_dir, PATH),
        trusted_clients=table.texts("trusted_clients", default.trusted_clients, NETWORK),
        exempt_sasl=table.flag("exempt_sasl", default.exempt_sasl),
        keep_generations=table.integer("keep_generations", default.keep_generations, 1, 1_000_000),
    )


def _read_postfix(table: Table) -> PostfixMaps:
    default = PostfixMaps()
    return PostfixMaps(
        map_dir=table.text("map_dir", default.map_dir, POSTFIX_PATH),
        map_type=table.text("map_type", default.map_type, POSTFIX_MAP_TYPE),
        config_directory=table.text("config_directory", default.config_directory, POSTFIX_PATH),
        tls_linger=table.text("tls_linger", default.tls_linger, DURATION),
    )


def _read_sendmail(table: Table) -> SendmailMaps:
    default = SendmailMaps()
    return SendmailMaps(
        map_dir=table.text("map_dir", default.map_dir, PATH),
        map_type=table.text("map_type", default.map_type, SENDMAIL_MAP_TYPE),
        own_mailertable=table.text("own_mailertable", default.own_mailertable, OPTIONAL_PATH),
        own_access=table.text("own_access", default.own_access, OPTIONAL_PATH),
    )


def _read_policyd(table: Table) -> Policyd:
    default = Policyd()
    return Policyd(
        listen=_read_listen(table, default.listen),
        socket_mode=table.text("socket_mode", default.socket_mode, SOCKET_MODE),
        socket_group=table.text("socket_group", default.socket_group, GROUP),
        on_failure=table.choice("on_failure", _ON_FAILURE, default.on_failure),
        metrics_listen=table.text("metrics_listen", default.metrics_listen, METRICS_WHERE),
    )


def _read_milter(table: Table) -> Milter:
    default = Milter()
    return Milter(
        listen=_read_listen(table, default.listen),
        socket_mode=table.text("socket_mode", default.socket_mode, SOCKET_MODE),
        socket_group=table.text("socket_group", default.socket_group, GROUP),
        authserv_id=table.text("authserv_id", default.authserv_id, AUTHSERV_ID),
    )


def _read_monitoring(table: Table) -> Monitoring:
    default = Monitoring()
    return Monitoring(
        textfile=table.text("textfile", default.textfile, TEXTFILE),
        report=table.text("report", default.report, OPTIONAL_PATH),
    )


def _read_listen(table: Table, default: tuple[str, ...]) -> tuple[str, ...]:
    listen = table.texts("listen", default, WHERE)
    if not listen and table.sound:
        table.fault("listen", f'found an empty array; name a socket, such as "{default[0]}"')
    return listen
