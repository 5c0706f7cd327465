"""Which client in the pod serves a developer's machine."""

from __future__ import annotations

from attrs import define
from twisted.trial.unittest import SynchronousTestCase

from rtunnel.routing.pods import PodOffer, choose_pod

TOKEN = "0badc0de" * 4


@define(eq=False)
class Client:
    offer: PodOffer
    avoided: bool = False


class OfferTests(SynchronousTestCase):
    def test_read(self) -> None:
        self.assertEqual(PodOffer.of("reach,env", TOKEN), PodOffer(frozenset(("reach", "env")), TOKEN))
        self.assertEqual(PodOffer.of("", TOKEN).services, frozenset())

    def test_no_token(self) -> None:
        """Without one that cannot be guessed, and written to a preface, there is no offer."""
        for token in ("", "short", "0badc0de 0badc0de 0badc0de", "é" * 32):
            self.assertEqual(PodOffer.of("reach", token), PodOffer())

    def test_the_token_is_not_shown(self) -> None:
        self.assertNotIn(TOKEN, repr(PodOffer.of("reach", TOKEN)))


class ChoiceTests(SynchronousTestCase):
    def setUp(self) -> None:
        reach = PodOffer.of("reach", TOKEN)
        self.laptop, self.first, self.second = Client(PodOffer()), Client(reach), Client(reach)
        self.all = [self.laptop, self.first, self.second]

    def chosen(self, service: str = "reach", current: Client | None = None) -> Client | None:
        return choose_pod(self.all, service, current)

    def test_one_that_offers_it(self) -> None:
        self.assertIs(self.chosen(), self.first)
        self.assertIsNone(self.chosen("env"))

    def test_the_same_one(self) -> None:
        self.assertIs(self.chosen(current=self.second), self.second)

    def test_the_same_one_is_gone(self) -> None:
        self.all.remove(self.second)
        self.assertIs(self.chosen(current=self.second), self.first)

    def test_silent_ones(self) -> None:
        """They are for when there is no other."""
        self.first.avoided = True
        self.assertIs(self.chosen(current=self.first), self.second)
        self.second.avoided = True
        self.assertIs(self.chosen(current=self.second), self.second)
