"""What axe-core finds wrong with a page for people who cannot see, point or hear."""

from pathlib import Path
from typing import Any

from playwright.async_api import Page

SOURCE = Path(__file__).parent / "vendor" / "axe-4.14.1.min.js"
GRAVE = ("serious", "critical")
RUN = """async () => {
  const found = await axe.run(document, { resultTypes: ["violations"] });
  return found.violations.map((one) => ({
    id: one.id,
    impact: one.impact,
    where: one.nodes.map((node) => node.target.join(" ")).slice(0, 5),
  }));
}"""


async def flaws(page: Page) -> list[str]:
    """The grave ones, each with where it is (axe-core's impact: serious and critical)."""
    await page.evaluate(SOURCE.read_text())
    found: list[dict[str, Any]] = await page.evaluate(RUN)
    return [f"{one['id']}: {', '.join(one['where'])}" for one in found if one["impact"] in GRAVE]
