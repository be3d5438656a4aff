"""All targets by name. A new one is a module with a `render`, and its line here."""

from collections.abc import Mapping

from closedmail.exports import csv_table, json_document, mailertable
from closedmail.exports.target import Target

TARGETS: Mapping[str, Target] = {
    "csv": Target("one row a domain", csv_table.render, newline="\r\n"),
    "json": Target("all routes and rules, for programs", json_document.render),
    "mailertable": Target("the verified, cleaned list, for Sendmail, NoSpamProxy and others", mailertable.render),
}
