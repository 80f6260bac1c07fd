// A key for a program is made and shown once; the program uses it; it is rotated with an
// overlap, revoked, and its report tells what was done.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { check, launch, open, ours, pressEnterOn, signIn, tabTo, today, until } from "./portal.mjs";

test("a key is made, used, rotated and revoked", async () => {
  const browser = await launch();
  try {
    const { page, faults } = await open(browser);
    await signIn(page, ours, "owner");
    await page.goto(`${ours.portalURL}api-keys`);
    await check(page, "keys-1-list", "API keys");
    await pressEnterOn(page, "Make a key");
    await check(page, "keys-2-form", "Make an API key");
    await tabTo(page, "Name");
    await page.keyboard.type("Laboratory Journey");
    await page.getByLabel("Issuing codes", { exact: true }).check();
    await tabTo(page, "Only from these networks");
    await page.keyboard.type("somewhere");
    await pressEnterOn(page, "Make the key");
    await check(page, "keys-3-problem", "Make an API key");
    assert.equal(await page.locator("#networks").getAttribute("aria-invalid"), "true");
    assert.equal(await page.getByLabel("Name").inputValue(), "Laboratory Journey");
    await page.getByLabel("Only from these networks").fill("127.0.0.0/8");
    await pressEnterOn(page, "Make the key");
    await check(page, "keys-4-made", "The new key: Laboratory Journey");
    const first = await page.locator("[data-secret]").innerText();
    assert.match(first, /^carillon_/);
    assert.ok(!page.url().includes(first) && !(await page.title()).includes(first), "the key is in the page alone");

    const issue = async (key) => page.request.post(`${ours.issueBase}api/issue`, { headers: { "X-API-Key": key }, data: { testType: "confirmed", symptomDate: today().iso } });
    assert.equal((await issue(first)).status(), 200);
    await pressEnterOn(page, "I have put it in its place");
    await pressEnterOn(page, "Laboratory Journey");
    await check(page, "keys-5-key", "Laboratory Journey");
    assert.ok(!(await page.content()).includes(first), "it is not shown again");

    await pressEnterOn(page, "Rotate");
    await check(page, "keys-6-rotate", "Rotate Laboratory Journey");
    await page.getByLabel("Days for which the old key lives on").fill("1");
    await pressEnterOn(page, "Make the new key");
    await check(page, "keys-7-rotated", "The new key: Laboratory Journey");
    const second = await page.locator("[data-secret]").innerText();
    assert.notEqual(first, second);
    assert.deepEqual([(await issue(first)).status(), (await issue(second)).status()], [200, 200], "both are accepted for a day");

    await page.goto(`${ours.portalURL}api-keys`);
    await check(page, "keys-8-both", "API keys");
    await pressEnterOn(page, "Laboratory Journey, version 1");
    await check(page, "keys-9-report", "Laboratory Journey, version 1");
    const days = page.locator("#days").locator("xpath=..");
    await until(async () => {
      await page.reload();
      return /2 ×.*Issue codes: done/i.test(await days.innerText().catch(() => ""));
    }, "the report has two codes");
    const [report] = await Promise.all([page.waitForEvent("download"), page.getByRole("link", { name: "Download the report (CSV)" }).click()]);
    const csv = readFileSync(await report.path(), "utf8");
    assert.match(csv, /code:issue/);
    assert.ok(!csv.includes(first.slice(0, 30)) && !csv.includes("127.0.0.1"), "neither the key nor an address is in it");

    await pressEnterOn(page, "Revoke");
    await check(page, "keys-10-revoke", "Revoke Laboratory Journey, version 1?");
    await pressEnterOn(page, "Revoke the key");
    await page.getByText("The key was revoked").waitFor();
    await until(async () => (await issue(first)).status() === 401, "the old key is refused");
    assert.equal((await issue(second)).status(), 200, "the new one is not");
    await page.goto(`${ours.portalURL}api-keys`);
    await pressEnterOn(page, "Laboratory Journey, version 2");
    await pressEnterOn(page, "End all codes that it issued");
    await check(page, "keys-11-codes", "End all codes of Laboratory Journey, version 2?");
    await pressEnterOn(page, "End the codes");
    await page.getByText("2 codes were ended").waitFor();
    await pressEnterOn(page, "Revoke");
    await pressEnterOn(page, "Revoke the key");
    await until(async () => (await issue(second)).status() === 401, "the new key is refused");
    await check(page, "keys-12-revoked", "Laboratory Journey, version 2");
    assert.deepEqual(faults, []);
  } finally {
    await browser.close();
  }
});
