import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { test } from "node:test";
import { check, launch, open, ours, signIn } from "./portal.mjs";

test("an analyst sees how the programme does, and takes the numbers away", async () => {
  const browser = await launch();
  try {
    const { page, faults } = await open(browser);
    await signIn(page, ours, "analyst");
    await check(page, "statistics", "How the programme does");
    await page.getByRole("link", { name: "Today" }).click();
    // The demo's phones came some seconds ago, and are counted soon.
    const issued = page.locator(".tile__value").first();
    for (let i = 0; i < 60 && (await issued.textContent()) === "0"; i++) {
      await page.waitForTimeout(1000);
      await page.reload();
    }
    await check(page, "statistics-today", "How the programme does");
    const plot = page.locator("data-plot").first();
    await plot.locator("canvas").waitFor();
    assert.ok(await plot.evaluate((e) => {
      const { width, height } = e.querySelector("canvas");
      const pixels = e.querySelector("canvas").getContext("2d").getImageData(0, 0, width, height).data;
      return pixels.some((value) => value !== 0);
    }), "something is drawn");

    const [file] = await Promise.all([page.waitForEvent("download"), page.getByRole("link", { name: "CSV From code to upload" }).click()]);
    const lines = (await readFile(await file.path(), "utf8")).trim().split("\n");
    assert.equal(lines.length, 2);
    assert.equal(lines.at(-1).split(",")[1], await page.locator("#funnel ~ details tbody td").first().textContent(), "the file has the numbers of the page");

    await page.getByRole("link", { name: "Last 28 days" }).click();
    await check(page, "statistics-month", "How the programme does");
    await page.emulateMedia({ colorScheme: "dark" });
    await page.setViewportSize({ width: 360, height: 740 });
    await check(page, "statistics-narrow-dark", "How the programme does");
    assert.ok(await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth), "the page does not scroll sideways");
    assert.deepEqual(faults, []);
  } finally {
    await browser.close();
  }
});

test("a key custodian sees what was published, and what comes next", async () => {
  const browser = await launch();
  try {
    const { page, faults } = await open(browser);
    await signIn(page, ours, "key-custodian");
    await check(page, "exports", "Export files");
    // What the demo's phones published at its start is as far back as the service is old.
    while (!/In the index/.test(await page.locator("tbody").textContent())) await page.getByRole("link", { name: "Older windows" }).click();
    await check(page, "exports-published", "Export files");
    // What is published is read in the store as phones read it.
    const listed = page.locator("tbody tr", { hasText: "In the index" }).first();
    for (let i = 0; i < 60 && !/signature valid/.test(await listed.textContent()); i++) {
      await page.waitForTimeout(1000);
      await page.reload();
    }
    assert.match(await listed.textContent(), /As published, signature valid/);
    const [own, padding] = await Promise.all(["Own keys", "Padding"].map(async (name) => {
      const cell = await listed.locator("td", { hasText: name }).textContent();
      return Number(cell.split(":")[1]);
    }));
    assert.ok(own > 0 && padding > own, `${own} keys of phones hide among ${padding}`);
    await page.setViewportSize({ width: 360, height: 740 });
    await check(page, "exports-narrow", "Export files");
    assert.ok(await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth), "the page does not scroll sideways");
    assert.deepEqual(faults, []);
  } finally {
    await browser.close();
  }
});
