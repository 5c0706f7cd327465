from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from release.changelog import wrapped

WORDS = " ".join(["words"] * 30)


class WrappedTests(SynchronousTestCase):
    """Prose of the changelog is as wide as that of other pages."""

    def test_items(self) -> None:
        text = f"# Changelog\n\n### Added\n\n- {WORDS}\n  more `code`\n\n  {WORDS}\n- short\n"
        result = wrapped(text)
        self.assertLessEqual(max(map(len, result.splitlines())), 100)
        self.assertEqual(result.split(), text.split())
        self.assertEqual(
            result.splitlines()[4:7], [f"- {' '.join(['words'] * 16)}", f"  {' '.join(['words'] * 14)} more `code`", ""]
        )
        self.assertTrue(result.endswith(f"\n\n  {' '.join(['words'] * 16)}\n  {' '.join(['words'] * 14)}\n- short\n"), result)

    def test_twice(self) -> None:
        once = wrapped(f"- {WORDS}\n- a\n  b\n")
        self.assertEqual(wrapped(once), once)

    def test_all_else(self) -> None:
        """What is no list stays as it is."""
        text = f"# Changelog\n\n{WORDS}\n<!-- {WORDS} -->\n## 0.1.0 (2030-01-01)\n"
        self.assertEqual(wrapped(text), text)
