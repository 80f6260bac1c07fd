import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { test } from "node:test";
import { check, fits, launch, open, ours, person, pressEnterOn, signIn, tabTo, today, wordsIn } from "./portal.mjs";

// Each run brings a table of its own: the same one would be known again.
const run = String(Date.now());

/** A table of `rows` rows with headings, one of which says which run it is. */
function table(rows, line = () => "") {
  const day = today().iso;
  return [`Run ${run},Result,Test date,Phone`, ...Array.from({ length: rows }, (_, i) => line(i, day) || `${i},confirmed,${day},`)].join("\r\n");
}

const upload = (page, name, text) => page.locator("#file").setInputFiles({ name, mimeType: "text/csv", buffer: Buffer.from(text) });

test("a caseworker issues many codes from a table, by keyboard, and takes the results", async () => {
  const browser = await launch();
  try {
    const { page, faults } = await open(browser);
    await signIn(page, ours, "caseworker");
    await pressEnterOn(page, "Issue many codes");
    await check(page, "bulk", "Issue many codes");
    await pressEnterOn(page, "Upload a table");
    await check(page, "bulk-new", "Upload a table");

    await upload(page, "names.csv", Buffer.from("name,result\r\nJos\xe9,confirmed\r\n", "latin1"));
    await pressEnterOn(page, "Upload");
    await check(page, "bulk-encoding", "Upload a table");
    await page.getByText("Row 2: This is no text in UTF-8").first().waitFor();

    await upload(page, "results.csv", table(2, (i, day) => (i ? `b,confirmed,${day},junk` : `a,positive,${day},`)));
    await pressEnterOn(page, "Upload");
    await check(page, "bulk-columns", "Say what the columns mean");
    await pressEnterOn(page, "Try all rows");
    await check(page, "bulk-problems", "What would happen");
    assert.equal(await page.locator("tbody tr").count(), 2);
    assert.equal(await page.getByRole("button", { name: /^Issue/ }).count(), 0, "nothing can be issued");
    await pressEnterOn(page, "Forget this table");
    await page.getByText("The table was forgotten. Nothing was issued.").waitFor();

    await page.goto(new URL("bulk/new", page.url().replace(/bulk$/, "")).href);
    await upload(page, "results.csv", table(400));
    await pressEnterOn(page, "Upload");
    await pressEnterOn(page, "Try all rows");
    await check(page, "bulk-check", "What would happen");
    await page.getByText("All rows can be used").waitFor();
    await pressEnterOn(page, "Issue 400 codes");
    assert.equal(await page.locator("h1").textContent(), "Order of many codes");
    const order = page.url();

    // The bar moves by itself, and is right after a reload.
    await page.locator("batch-state[data-phase=done]").waitFor({ timeout: 60_000 });
    await page.reload();
    await check(page, "bulk-done", "Order of many codes");
    assert.equal(await page.locator("progress").getAttribute("value"), "400");
    await page.getByText("400 of 400 rows are done.").waitFor();

    await tabTo(page, "Download the results");
    const [file] = await Promise.all([page.waitForEvent("download"), page.keyboard.press("Enter")]);
    const lines = (await readFile(await file.path(), "utf8")).trim().split("\n");
    assert.equal(lines.length, 401);
    assert.equal(new Set(lines.slice(1).map((l) => l.split(",")[4])).size, 400, "each row has a code of its own");
    assert.match(lines[1], /^2,issued,\d{4} \d{4},/);

    // The same table again issues nothing.
    await page.goto(new URL("../new", order).href);
    await upload(page, "again.csv", table(400).replaceAll(",", ";"));
    await pressEnterOn(page, "Upload");
    assert.equal(page.url(), order);
    await page.getByText("This table was used before. Nothing was issued").waitFor();
    assert.deepEqual(faults, []);
  } finally {
    await browser.close();
  }
});

test("an order is paused, resumed and cancelled, in Spanish on a phone, without scripts", async () => {
  const browser = await launch();
  try {
    const { page, faults } = await open(browser, { javaScriptEnabled: false, viewport: { width: 320, height: 640 }, locale: "es-US" });
    const es = wordsIn("es");
    await page.goto(ours.portalURL);
    await page.locator("main a.usa-button").first().click();
    await page.getByRole("button", { name: `Sign in as ${person(ours, "caseworker").name}` }).click();
    await page.goto(`${ours.portalURL.replace(/\/$/, "")}/bulk/new`);
    await upload(page, "resultados.csv", table(30_000));
    await page.getByRole("button", { name: es("bulk.upload") }).click();
    await fits(page);
    await page.getByRole("button", { name: es("bulk.try") }).click();
    await fits(page);
    await page.getByRole("button", { name: /30000/ }).click();
    await page.getByRole("button", { name: es("bulk.pause") }).click();
    await page.getByText(es("bulk.paused")).waitFor();
    await fits(page);
    const done = await page.locator("progress").getAttribute("value");
    await page.reload();
    assert.equal(await page.locator("progress").getAttribute("value"), done, "nothing is issued while it is paused");
    await page.getByRole("button", { name: es("bulk.resume") }).click();
    await page.getByText(es("bulk.resumed")).waitFor();
    await page.getByRole("link", { name: es("bulk.cancel.link") }).click();
    assert.equal(await page.locator("h1").textContent(), es("bulk.cancel.heading"));
    await fits(page);
    await page.getByRole("button", { name: es("bulk.cancel.button") }).click();
    await page.getByText(es("bulk.cancelled")).waitFor();
    assert.deepEqual(faults, []);
  } finally {
    await browser.close();
  }
});
