"""Check our maps in sendmail.cf: named, of the right type, in use, and such that Sendmail opens them."""

from collections.abc import Iterator

from closedmail.doctor.finding import Finding, Fix
from closedmail.doctor.sendmail_facts import SENDMAIL_MC, SendmailFacts, rebuild
from closedmail.mta.sendmail_cf import KeyedMap

MAILERTABLE, ACCESS = "mailertable", "access"
# The text by which rule sets look into the map, where its FEATURE defines it (cf/m4/proto.m4).
_USED = {MAILERTABLE: "$(mailertable ", ACCESS: '"TLS_Rcpt"'}
_UNUSED = {
    MAILERTABLE: "partners' mail leaves by the public MX",
    ACCESS: "no TLS is demanded for partners' mail, which may leave unencrypted",
}
# The mailers of list entries: cf/README, "MAILERS".
_MAILERS = ("smtp", "esmtp", "smtp8", "dsmtp", "relay")


def sendmail_map_findings(facts: SendmailFacts) -> Iterator[Finding]:
    """Find what is wrong with the mailertable and the access table."""
    for name in (MAILERTABLE, ACCESS):
        yield from _reference_findings(facts, name)
        yield from _file_findings(facts, name)
    missing = [mailer for mailer in _MAILERS if mailer not in facts.cf.mailers]
    if missing:
        yield Finding.of(
            "sendmail-mailers",
            f"sendmail.cf has no mailer {missing[0]}, which partners' routes name: their mail is returned; write "
            "MAILER(`smtp')dnl into /etc/mail/sendmail.mc, and run: sendmailconfig",
        )
    yield from _own_row_findings(facts)
    if not facts.machine.has_program("makemap"):
        yield Finding.of("makemap", "makemap is not there, and sync makes no maps: apt install sendmail-bin")


def feature(facts: SendmailFacts, name: str) -> str:
    """Make the line of the .mc that names one of our maps."""
    path, kind = f"{facts.map_folder}/{name}", facts.maps.map_type
    if name == ACCESS:
        return f"FEATURE(`access_db', `{kind} -T<TMPF> {path}')dnl"
    return f"FEATURE(`mailertable', `{kind} {path}')dnl"


def _reference_findings(facts: SendmailFacts, name: str) -> Iterator[Finding]:
    path = f"{facts.map_folder}/{name}"
    named = facts.cf.files(name)
    ours = next((item for item in named if item.path == path), None)
    line = feature(facts, name)
    remedy = f"replace its FEATURE in {SENDMAIL_MC} by {line} and run: sendmailconfig" if named else rebuild(line)
    if ours is None or not facts.cf.has_rule(_USED[name]):
        text = f"sendmail.cf does not look into {path}: {_UNUSED[name]}"
        if ours is None and named:
            text = f"sendmail.cf has {named[0].path or named[0].type} for {name}, not {path}: {_UNUSED[name]}"
        yield Finding.of(f"{name}-map", f"{text}; {remedy}{_rows_of(facts, name, named if ours is None else [])}")
        return
    if ours.type != facts.maps.map_type:
        yield Finding.of(
            "sendmail-map-type",
            f"sendmail.cf looks into {path} as of type {ours.type}, but sync makes it of type {facts.maps.map_type}: "
            f"Sendmail opens another file, or none; {remedy}",
        )
    if ours.forgives:
        what = "partners' mail leaves by the public MX" if name == MAILERTABLE else "no TLS is demanded"
        yield Finding.of(
            "map-optional",
            f"sendmail.cf has {ours.forgives} for {name}: while {path} is not there or can't be read, {what}, where "
            f"Sendmail should defer mail; {remedy}",
        )


def _rows_of(facts: SendmailFacts, name: str, others: list[KeyedMap]) -> str:
    """Advise what to do with the rows of another table, which would no longer be used."""
    key = f"own_{name}"
    if not others or not others[0].path or getattr(facts.maps, key):
        return ""
    sync = facts.config.command("sync")
    return f'; rows of yours in it are kept by {key} = "{others[0].path}" in [sendmail], and: {sync}'


def _file_findings(facts: SendmailFacts, name: str) -> Iterator[Finding]:
    path = f"{facts.map_folder}/{name}"
    index = f"{path}.db"
    state = facts.machine.path(index)
    if state.stopped_at:
        mode = facts.machine.path(state.stopped_at).mode | 0o055
        yield Finding.of(
            "map-access",
            f"Sendmail, which runs as root, but looks at the modes, does not come to {index}, because of "
            f"{state.stopped_at}: it defers all mail",
            (Fix.chmod(f"{mode:04o}", state.stopped_at),),
        )
    elif not state.kind:
        made = "as a text only" if facts.machine.path(path).kind else "not there"
        what = "partners' mail waits" if name == MAILERTABLE else "Sendmail accepts no mail"
        yield Finding.of("map-missing", f"{index} is {made}: {what}", (Fix.closedmail(facts.config, "sync"),))
    elif state.writable_at and "mapinunsafedirpath" not in facts.blamed:
        yield Finding.of(
            "map-folder",
            f"{state.writable_at} can be written by its group or by others: Sendmail calls {index} an unsafe map file, "
            "and defers all mail",
            (facts.close_folder(state.writable_at),),
        )


def _own_row_findings(facts: SendmailFacts) -> Iterator[Finding]:
    for key in ("own_mailertable", "own_access"):
        path: str = getattr(facts.maps, key)
        reason = facts.machine.unreadable(path) if path else ""
        if not reason:
            continue
        state = facts.machine.path(path)
        fixes: tuple[Fix, ...] = ()
        if state.kind == "file" and not state.mode & 0o004:
            fixes = (Fix.chmod(f"{state.mode | 0o044:04o}", path),)
        yield Finding.of(
            "own-rows",
            f"{path}, {key} of [sendmail], can't be read by the owner of {facts.config.gateway.state_dir} ({reason}): "
            "sync is refused" + ("" if fixes else "; make it readable, or take the key out"),
            fixes,
        )
