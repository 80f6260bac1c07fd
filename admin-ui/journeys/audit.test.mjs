import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { test } from "node:test";
import { check, launch, open, ours, person, signIn, today } from "./portal.mjs";

test("an auditor finds who issued a code, and takes the log away", async () => {
  const browser = await launch();
  try {
    const { page, faults } = await open(browser);
    await signIn(page, ours, "caseworker");
    await page.getByText("Confirmed positive").click();
    await page.getByLabel("Test taken").fill(today().iso);
    await page.getByRole("button", { name: "Issue code" }).click();
    const id = await page.locator(".facts .id").first().textContent();

    const other = await open(browser);
    await signIn(other.page, ours, "auditor");
    await other.page.getByRole("link", { name: "Audit log" }).click();
    await check(other.page, "audit", "Audit log");
    await other.page.getByLabel("To what").fill(id);
    await other.page.keyboard.press("Enter");
    await other.page.waitForURL(/target=/);
    const rows = other.page.locator("tbody tr");
    assert.equal(await rows.count(), 1);
    assert.match(await rows.textContent(), new RegExp(person(ours, "caseworker").name));
    assert.match(await rows.textContent(), /role caseworker allows code:issue/);
    await other.page.setViewportSize({ width: 360, height: 740 });
    await check(other.page, "audit-narrow", "Audit log");
    assert.ok(await other.page.evaluate(() => document.documentElement.scrollWidth <= innerWidth), "the page does not scroll sideways");

    const [file] = await Promise.all([
      other.page.waitForEvent("download"),
      other.page.getByRole("link", { name: "Download the whole log" }).click(),
    ]);
    const lines = (await readFile(await file.path(), "utf8")).trim().split("\n").map((l) => JSON.parse(l));
    assert.equal(lines[0].slug, ours.slug);
    assert.ok(lines.some((l) => l.target === id));

    await other.page.getByLabel("Who").fill("nobody at all");
    await other.page.getByRole("button", { name: "Show entries" }).click();
    await check(other.page, "audit-none", "Audit log");
    assert.deepEqual([...faults, ...other.faults], []);
  } finally {
    await browser.close();
  }
});
