"""Ingress rules in a file: one rule per line.

A line is ``HOST=UUID`` as on the command line, or host and UUID separated by whitespace as in gost's files (go-gost/x
``ingress/ingress.go``); ``$`` before the UUID makes the rule private. ``#`` begins a comment, empty lines are ignored.
"""

from __future__ import annotations

from collections.abc import Iterable

from attrs import frozen

from rtunnel.routing.ingress import IngressRule

__all__ = ["RuleFault", "RulesError", "read_rules"]


@frozen
class RuleFault:
    """What is wrong in one line.

    :ivar line: its number, from 1.
    :ivar text: the rule as it was written.
    :ivar hint: a message that completes *TEXT ...*.
    """

    line: int
    text: str
    hint: str


class RulesError(Exception):
    """Some lines are not valid rules.

    :param faults: at least one, in the order of the lines.
    """

    def __init__(self, faults: Iterable[RuleFault]) -> None:
        self.faults = tuple(faults)
        super().__init__(f"{len(self.faults)} faults, the first in line {self.faults[0].line}")


def read_rules(text: str, existing: Iterable[IngressRule] = ()) -> tuple[IngressRule, ...]:
    """Parse all rules of a file.

    :param existing: rules from elsewhere, which these must not contradict.
    :raises RulesError: with all faults.
    """
    known = {rule.pattern: (rule, "the settings") for rule in existing}
    rules: list[IngressRule] = []
    faults: list[RuleFault] = []
    for number, line in enumerate(text.split("\n"), 1):
        rule_text = line.partition("#")[0].strip()
        if not rule_text:
            continue
        words = rule_text.split()
        try:
            rule = IngressRule.parse("=".join(words) if len(words) == 2 and "=" not in rule_text else rule_text)
        except ValueError as error:
            faults.append(RuleFault(number, rule_text, str(error)))
            continue
        other, where = known.setdefault(rule.pattern, (rule, f"line {number}"))
        if other != rule:
            faults.append(RuleFault(number, rule_text, f"this host has another tunnel in {where}; name each host once"))
        rules.append(rule)
    if faults:
        raise RulesError(faults)
    return tuple(rules)
